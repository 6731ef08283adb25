-- One row per event, channel and recipient: that this is unique is why nobody is told twice. `next_at` is when the
-- delivery is due, and while a worker holds it (`claim`) when it is due again should that worker die.
CREATE TABLE notification_deliveries (
  id uuid NOT NULL PRIMARY KEY,
  event_id uuid NOT NULL,
  channel text NOT NULL,
  recipient text NOT NULL,
  template text NOT NULL,
  facts jsonb NOT NULL,
  order_id uuid,
  request_id text,
  traceparent text,
  state text NOT NULL CHECK (state IN ('pending', 'sent', 'skipped', 'failed')),
  attempts bigint NOT NULL DEFAULT 0,
  failures bigint NOT NULL DEFAULT 0,
  redeliveries bigint NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL,
  claim uuid,
  last_error text,
  created_at timestamptz NOT NULL,
  sent_at timestamptz,
  UNIQUE (event_id, channel, recipient)
);
CREATE INDEX notification_deliveries_due ON notification_deliveries (channel, next_at) WHERE state = 'pending';
CREATE INDEX notification_deliveries_failed ON notification_deliveries (id) WHERE state = 'failed';
CREATE INDEX notification_deliveries_order ON notification_deliveries (order_id) WHERE order_id IS NOT NULL;

-- Tries that failed. `n` counts them per delivery.
CREATE TABLE notification_attempts (
  delivery_id uuid NOT NULL REFERENCES notification_deliveries (id) ON DELETE CASCADE,
  n bigint NOT NULL,
  at timestamptz NOT NULL,
  code bigint,
  reason text NOT NULL,
  took_ms bigint NOT NULL,
  PRIMARY KEY (delivery_id, n)
);

-- How people want to be told. Who is not here gets everything, in the first locale.
CREATE TABLE notification_preferences (
  recipient text NOT NULL PRIMARY KEY,
  locale text NOT NULL,
  optional_mails boolean NOT NULL,
  updated_at timestamptz NOT NULL
);

CREATE TABLE notification_audit (
  id uuid NOT NULL PRIMARY KEY,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  before jsonb NOT NULL,
  after jsonb NOT NULL,
  request_id text NOT NULL
);
