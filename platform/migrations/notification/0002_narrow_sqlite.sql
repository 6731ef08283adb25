-- The check of the state is a chain of comparisons: SQLite makes a table for a list at every row that is written.
-- Attempts go with their delivery, so both are made anew.
CREATE TABLE notification_deliveries_anew (
  id uuid NOT NULL PRIMARY KEY,
  event_id uuid NOT NULL,
  channel text NOT NULL,
  recipient text NOT NULL,
  template text NOT NULL,
  facts jsonb NOT NULL,
  order_id uuid,
  request_id text,
  traceparent text,
  state text NOT NULL CHECK (state = 'pending' OR state = 'sent' OR state = 'skipped' OR state = 'failed'),
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
INSERT INTO notification_deliveries_anew (
  id, event_id, channel, recipient, template, facts, order_id, request_id, traceparent, state, attempts,
  failures, redeliveries, next_at, claim, last_error, created_at, sent_at
) SELECT
  id, event_id, channel, recipient, template, facts, order_id, request_id, traceparent, state, attempts,
  failures, redeliveries, next_at, claim, last_error, created_at, sent_at
FROM notification_deliveries;
CREATE TABLE notification_attempts_anew (
  delivery_id uuid NOT NULL REFERENCES notification_deliveries_anew (id) ON DELETE CASCADE,
  n bigint NOT NULL,
  at timestamptz NOT NULL,
  code bigint,
  reason text NOT NULL,
  took_ms bigint NOT NULL,
  PRIMARY KEY (delivery_id, n)
);
INSERT INTO notification_attempts_anew (
  delivery_id, n, at, code, reason, took_ms
) SELECT
  delivery_id, n, at, code, reason, took_ms
FROM notification_attempts;
DROP TABLE notification_attempts;
DROP TABLE notification_deliveries;
ALTER TABLE notification_deliveries_anew RENAME TO notification_deliveries;
ALTER TABLE notification_attempts_anew RENAME TO notification_attempts;
CREATE INDEX notification_deliveries_due ON notification_deliveries (channel, next_at) WHERE state = 'pending';
CREATE INDEX notification_deliveries_failed ON notification_deliveries (id) WHERE state = 'failed';
CREATE INDEX notification_deliveries_order ON notification_deliveries (order_id) WHERE order_id IS NOT NULL;
