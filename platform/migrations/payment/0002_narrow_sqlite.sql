-- Attempts are found by their payment and their place, ledger lines by their payment: so those are the keys.
-- The checks of words are chains of comparisons, since SQLite makes a table for a list at every row that is written.
CREATE TABLE payment_attempts_anew (
  id uuid NOT NULL,
  payment_id uuid NOT NULL REFERENCES payments (id),
  n bigint NOT NULL,
  operation text NOT NULL CHECK (
    operation = 'authorize' OR operation = 'capture' OR operation = 'void' OR operation = 'refund'
  ),
  act_key text NOT NULL,
  idem_key text NOT NULL UNIQUE,
  amount bigint NOT NULL,
  payment_method text,
  provider_reference text,
  state text NOT NULL CHECK (
    state = 'open' OR state = 'lookup' OR state = 'unsent' OR state = 'done' OR state = 'declined'
    OR state = 'superseded'
  ),
  outcome jsonb,
  tries bigint NOT NULL,
  next_at timestamptz NOT NULL,
  failed_at timestamptz,
  request_id text,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (payment_id, n)
);
INSERT INTO payment_attempts_anew (
  id, payment_id, n, operation, act_key, idem_key, amount, payment_method, provider_reference, state, outcome,
  tries, next_at, failed_at, request_id, created_at, updated_at
) SELECT
  id, payment_id, n, operation, act_key, idem_key, amount, payment_method, provider_reference, state, outcome,
  tries, next_at, failed_at, request_id, created_at, updated_at
FROM payment_attempts;
DROP TABLE payment_attempts;
ALTER TABLE payment_attempts_anew RENAME TO payment_attempts;
CREATE UNIQUE INDEX payment_attempts_one_open ON payment_attempts (payment_id) WHERE state IN ('open', 'lookup');
CREATE TABLE payment_ledger_anew (
  entry_id uuid NOT NULL,
  tx_id uuid NOT NULL,
  payment_id uuid NOT NULL REFERENCES payments (id),
  account text NOT NULL,
  debit bigint NOT NULL CHECK (debit >= 0),
  credit bigint NOT NULL CHECK (credit >= 0),
  currency text NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (payment_id, entry_id)
);
INSERT INTO payment_ledger_anew (
  entry_id, tx_id, payment_id, account, debit, credit, currency, at
) SELECT
  entry_id, tx_id, payment_id, account, debit, credit, currency, at
FROM payment_ledger;
DROP TABLE payment_ledger;
ALTER TABLE payment_ledger_anew RENAME TO payment_ledger;
