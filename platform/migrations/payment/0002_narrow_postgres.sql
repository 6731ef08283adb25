-- Attempts are found by their payment and their place, ledger lines by their payment: so those are the keys.
ALTER TABLE payment_attempts DROP CONSTRAINT payment_attempts_pkey;
ALTER TABLE payment_attempts DROP CONSTRAINT payment_attempts_payment_id_n_key;
ALTER TABLE payment_attempts ADD PRIMARY KEY (payment_id, n);
DROP INDEX payment_attempts_due;
ALTER TABLE payment_ledger DROP CONSTRAINT payment_ledger_pkey;
ALTER TABLE payment_ledger ADD PRIMARY KEY (payment_id, entry_id);
DROP INDEX payment_ledger_payment;
-- A payment is changed twice within milliseconds: with room left in the page, a change needs no new index entries.
ALTER TABLE payments SET (fillfactor = 70);
