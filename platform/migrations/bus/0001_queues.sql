-- One row per message and queue. A claim sets `receipt` and moves `visible_at` into the future; only who holds the
-- receipt may acknowledge.
CREATE TABLE bus_messages (
  id uuid NOT NULL PRIMARY KEY,
  queue text NOT NULL,
  event_id uuid NOT NULL,
  topic text NOT NULL,
  kind text NOT NULL,
  aggregate uuid NOT NULL,
  aggregate_seq bigint NOT NULL,
  body jsonb NOT NULL,
  sent_at timestamptz NOT NULL,
  visible_at timestamptz NOT NULL,
  receives bigint NOT NULL DEFAULT 0,
  redrives bigint NOT NULL DEFAULT 0,
  receipt uuid,
  last_error text
);
CREATE INDEX bus_messages_due ON bus_messages (queue, visible_at, aggregate_seq);

-- What no consumer could handle. A discarded row stays, so that every message can be accounted for.
CREATE TABLE bus_dead_letters (
  id uuid NOT NULL PRIMARY KEY,
  queue text NOT NULL,
  event_id uuid NOT NULL,
  topic text NOT NULL,
  kind text NOT NULL,
  aggregate uuid NOT NULL,
  aggregate_seq bigint NOT NULL,
  body jsonb NOT NULL,
  sent_at timestamptz NOT NULL,
  receives bigint NOT NULL,
  redrives bigint NOT NULL,
  reason text NOT NULL,
  dead_at timestamptz NOT NULL,
  discarded_at timestamptz,
  discard_reason text
);
CREATE INDEX bus_dead_letters_event ON bus_dead_letters (event_id);
