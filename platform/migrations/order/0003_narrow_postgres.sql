-- A saga and an order's answer are written once and changed a few times within milliseconds: with room left in the page,
-- a change needs no new index entries. Holds for what is written from now on.
ALTER TABLE order_sagas SET (fillfactor = 60);
ALTER TABLE order_idempotency SET (fillfactor = 50);
