CREATE TABLE order_carts (
  id uuid NOT NULL PRIMARY KEY,
  user_id uuid,
  promotion text,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX order_carts_by_user ON order_carts (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE order_cart_lines (
  cart_id uuid NOT NULL REFERENCES order_carts (id) ON DELETE CASCADE,
  sku text NOT NULL,
  quantity bigint NOT NULL CHECK (quantity > 0),
  added_at timestamptz NOT NULL,
  PRIMARY KEY (cart_id, sku)
);

-- A projection of order_events: can be made again from them at any time.
CREATE TABLE order_orders (
  id uuid NOT NULL PRIMARY KEY,
  number text NOT NULL UNIQUE,
  user_id uuid,
  cart_id uuid NOT NULL,
  email text NOT NULL,
  status text NOT NULL,
  payment_status text NOT NULL,
  fulfilment_status text NOT NULL,
  currency text NOT NULL,
  subtotal bigint NOT NULL,
  discount bigint NOT NULL,
  tax bigint NOT NULL,
  shipping bigint NOT NULL,
  total bigint NOT NULL,
  captured bigint NOT NULL,
  refunded bigint NOT NULL,
  stock text NOT NULL,
  promotion text,
  shipping_address jsonb NOT NULL,
  tracking text,
  reason text,
  held_until timestamptz,
  placed_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  version bigint NOT NULL
);
-- Ids sort by time, so (user, id) is a user's history and the primary key is everybody's.
CREATE INDEX order_orders_by_user ON order_orders (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX order_orders_by_status ON order_orders (status, id);

CREATE TABLE order_lines (
  order_id uuid NOT NULL REFERENCES order_orders (id),
  n bigint NOT NULL,
  sku text NOT NULL,
  title text NOT NULL,
  quantity bigint NOT NULL,
  unit_price bigint NOT NULL,
  discount bigint NOT NULL,
  tax bigint NOT NULL,
  line_total bigint NOT NULL,
  PRIMARY KEY (order_id, n)
);

-- The truth. Append only.
CREATE TABLE order_events (
  order_id uuid NOT NULL,
  seq bigint NOT NULL,
  type text NOT NULL,
  data jsonb NOT NULL,
  actor text NOT NULL,
  request_id text NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (order_id, seq)
);

CREATE TABLE order_sagas (
  id uuid NOT NULL PRIMARY KEY,
  subject uuid NOT NULL,
  kind text NOT NULL,
  version bigint NOT NULL,
  state text NOT NULL
    CHECK (state IN ('running', 'compensating', 'completed', 'compensated', 'stuck', 'abandoned')),
  step text NOT NULL,
  attempt bigint NOT NULL,
  next_at timestamptz,
  deadline_at timestamptz,
  owner text,
  epoch bigint NOT NULL,
  lease_until timestamptz,
  last_error text,
  params jsonb NOT NULL,
  log_n bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX order_sagas_due ON order_sagas (next_at) WHERE state IN ('running', 'compensating');
CREATE INDEX order_sagas_needing_help ON order_sagas (state, id) WHERE state IN ('stuck', 'abandoned');
CREATE INDEX order_sagas_by_subject ON order_sagas (subject);

CREATE TABLE order_saga_log (
  saga_id uuid NOT NULL,
  n bigint NOT NULL,
  step text NOT NULL,
  outcome text NOT NULL,
  next text NOT NULL,
  attempt bigint NOT NULL,
  epoch bigint NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (saga_id, n)
);

CREATE TABLE order_promotions (
  code text NOT NULL PRIMARY KEY,
  title text NOT NULL,
  benefit jsonb NOT NULL,
  min_subtotal bigint NOT NULL,
  uses_max bigint,
  uses_per_customer_max bigint,
  uses bigint NOT NULL CHECK (uses >= 0),
  starts_at timestamptz,
  ends_at timestamptz,
  active boolean NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);

CREATE TABLE order_promotion_uses (
  code text NOT NULL,
  customer text NOT NULL,
  uses bigint NOT NULL CHECK (uses >= 0),
  PRIMARY KEY (code, customer)
);

CREATE TABLE order_idempotency (
  scope text NOT NULL,
  key text NOT NULL,
  fingerprint text NOT NULL,
  order_id uuid NOT NULL,
  status bigint,
  body text,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (scope, key)
);
CREATE INDEX order_idempotency_expiry ON order_idempotency (expires_at);

CREATE TABLE order_audit (
  id uuid NOT NULL PRIMARY KEY,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  before jsonb NOT NULL,
  after jsonb NOT NULL,
  request_id text NOT NULL
);
