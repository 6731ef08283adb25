-- One payment per order. `version` grows with every change and guards it; `told` counts the events that were told.
CREATE TABLE payments (
  id uuid NOT NULL PRIMARY KEY,
  order_id uuid NOT NULL UNIQUE,
  amount bigint NOT NULL CHECK (amount >= 0),
  currency text NOT NULL,
  status text NOT NULL,
  authorized bigint NOT NULL CHECK (authorized >= 0),
  captured bigint NOT NULL CHECK (captured >= 0),
  refunded bigint NOT NULL CHECK (refunded >= 0 AND refunded <= captured),
  provider text NOT NULL,
  provider_reference text,
  version bigint NOT NULL,
  told bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);

-- One row per act at the provider. `act_key` is the caller's name for it, `idem_key` the provider's. The row is
-- written before the call and holds all that the request is made of, so that it can be replayed as it was.
-- open: may have been sent, outcome unknown. lookup: the provider answers its own failure to every replay, so its
-- lists must be read. unsent: nothing happened. done, declined: known. superseded: nothing happened, and the act went
-- on with another key.
CREATE TABLE payment_attempts (
  id uuid NOT NULL PRIMARY KEY,
  payment_id uuid NOT NULL REFERENCES payments (id),
  n bigint NOT NULL,
  operation text NOT NULL CHECK (operation IN ('authorize', 'capture', 'void', 'refund')),
  act_key text NOT NULL,
  idem_key text NOT NULL UNIQUE,
  amount bigint NOT NULL,
  payment_method text,
  provider_reference text,
  state text NOT NULL CHECK (state IN ('open', 'lookup', 'unsent', 'done', 'declined', 'superseded')),
  outcome jsonb,
  tries bigint NOT NULL,
  next_at timestamptz NOT NULL,
  failed_at timestamptz,
  request_id text,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (payment_id, n)
);
-- The acts of one payment are done one after the other.
CREATE UNIQUE INDEX payment_attempts_one_open ON payment_attempts (payment_id) WHERE state IN ('open', 'lookup');
CREATE INDEX payment_attempts_due ON payment_attempts (next_at) WHERE state IN ('open', 'lookup');

CREATE TABLE payment_refunds (
  id uuid NOT NULL PRIMARY KEY,
  payment_id uuid NOT NULL REFERENCES payments (id),
  amount bigint NOT NULL CHECK (amount > 0),
  state text NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed')),
  act_key text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX payment_refunds_payment ON payment_refunds (payment_id);

-- Double entry: the lines of one `tx_id` balance per currency. Money that is only held is not money that moved.
CREATE TABLE payment_ledger (
  entry_id uuid NOT NULL PRIMARY KEY,
  tx_id uuid NOT NULL,
  payment_id uuid NOT NULL REFERENCES payments (id),
  account text NOT NULL,
  debit bigint NOT NULL CHECK (debit >= 0),
  credit bigint NOT NULL CHECK (credit >= 0),
  currency text NOT NULL,
  at timestamptz NOT NULL
);
CREATE INDEX payment_ledger_payment ON payment_ledger (payment_id);

-- Webhooks as they came, once each. `raw` is kept until what it says is known here.
CREATE TABLE payment_webhooks (
  event_id text NOT NULL PRIMARY KEY,
  kind text NOT NULL,
  raw text,
  received_at timestamptz NOT NULL,
  processed_at timestamptz,
  tries bigint NOT NULL,
  next_at timestamptz NOT NULL
);
CREATE INDEX payment_webhooks_due ON payment_webhooks (next_at) WHERE processed_at IS NULL;
CREATE INDEX payment_webhooks_processed ON payment_webhooks (processed_at) WHERE processed_at IS NOT NULL;

-- Breakers that a person holds open.
CREATE TABLE payment_breakers (
  name text NOT NULL PRIMARY KEY,
  held_open boolean NOT NULL,
  reason text NOT NULL,
  actor text NOT NULL,
  at timestamptz NOT NULL
);

CREATE TABLE payment_audit (
  id uuid NOT NULL PRIMARY KEY,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  before jsonb NOT NULL,
  after jsonb NOT NULL,
  request_id text NOT NULL
);
