-- The catalogue.

CREATE TABLE product_categories (
  slug text NOT NULL PRIMARY KEY,
  title text NOT NULL,
  position bigint NOT NULL,
  -- Products on sale, kept by whoever puts one on or off: nobody counts the table.
  products bigint NOT NULL DEFAULT 0,
  CHECK (products >= 0)
);

-- One row: its version goes up with every change of the catalogue, and is how other processes notice.
CREATE TABLE product_catalogue (
  id bigint NOT NULL PRIMARY KEY,
  version bigint NOT NULL,
  CHECK (id = 1)
);
INSERT INTO product_catalogue (id, version) VALUES (1, 1);

CREATE TABLE product_products (
  id uuid NOT NULL PRIMARY KEY,
  -- Goes up with every product added: the order of `newest`, the last word of every cursor, the search row.
  number bigint NOT NULL UNIQUE,
  slug text NOT NULL UNIQUE,
  title text NOT NULL,
  description text NOT NULL,
  -- What else it should be found by: its category, its variants, its facts.
  keywords text NOT NULL,
  status text NOT NULL,
  category text NOT NULL REFERENCES product_categories (slug),
  -- The lowest price of its variants on sale.
  price_minor bigint NOT NULL,
  currency text NOT NULL,
  attrs jsonb NOT NULL,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK (status IN ('active', 'draft', 'archived')),
  CHECK (price_minor >= 0)
);
CREATE INDEX product_products_category ON product_products (category, number) WHERE status = 'active';
CREATE INDEX product_products_price ON product_products (price_minor, number) WHERE status = 'active';
CREATE INDEX product_products_category_price ON product_products (category, price_minor, number) WHERE status = 'active';

CREATE TABLE product_variants (
  sku text NOT NULL PRIMARY KEY,
  product_id uuid NOT NULL REFERENCES product_products (id),
  position bigint NOT NULL,
  title text NOT NULL,
  price_minor bigint NOT NULL,
  currency text NOT NULL,
  tax_class text NOT NULL,
  weight_g bigint NOT NULL,
  active boolean NOT NULL,
  UNIQUE (product_id, position),
  CHECK (price_minor >= 0),
  CHECK (tax_class IN ('standard', 'reduced', 'zero')),
  CHECK (weight_g >= 0)
);

-- The stock. The ledger is the truth; a stock row is its running balance, written in the same batch.

CREATE TABLE product_stock (
  sku text NOT NULL REFERENCES product_variants (sku),
  location text NOT NULL,
  on_hand bigint NOT NULL DEFAULT 0,
  reserved bigint NOT NULL DEFAULT 0,
  -- How many movements made this balance: the number of the last one.
  movements bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (sku, location),
  CHECK (on_hand >= 0),
  CHECK (reserved >= 0),
  CHECK (reserved <= on_hand)
);

-- One per order, for all its lines: an order's stock is held, pinned, committed or given back as a whole.
-- The lines are the ledger's `reserve` movements of the order (view product_reservation_lines).
CREATE TABLE product_reservations (
  order_id uuid NOT NULL PRIMARY KEY,
  state text NOT NULL,
  expires_at timestamptz,
  -- How often units came back after the commit: guards against two returns at once.
  returns bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL,
  CHECK (state IN ('held', 'pinned', 'committed', 'released', 'expired')),
  CHECK ((state = 'held') = (expires_at IS NOT NULL)),
  CHECK (returns = 0 OR state = 'committed')
);
CREATE INDEX product_reservations_due ON product_reservations (expires_at) WHERE state = 'held';

-- Append only. `act` names what caused the movement: `reserve` and `close` for an order, so that what an order holds
-- is taken once and closed once, whatever happens; `return:<key>` for units that come back; the caller's key else.
CREATE TABLE product_movements (
  sku text NOT NULL,
  location text NOT NULL,
  seq bigint NOT NULL,
  kind text NOT NULL,
  on_hand_delta bigint NOT NULL,
  reserved_delta bigint NOT NULL,
  on_hand_after bigint NOT NULL,
  reserved_after bigint NOT NULL,
  order_id uuid,
  act text NOT NULL,
  reason text NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (sku, location, seq),
  CHECK (on_hand_after >= 0 AND reserved_after >= 0 AND reserved_after <= on_hand_after),
  CHECK (
    (kind = 'reserve' AND on_hand_delta = 0 AND reserved_delta > 0)
    OR (kind IN ('release', 'expire') AND on_hand_delta = 0 AND reserved_delta < 0)
    OR (kind = 'commit' AND on_hand_delta < 0 AND reserved_delta = on_hand_delta)
    OR (kind IN ('receipt', 'return') AND on_hand_delta > 0 AND reserved_delta = 0)
    OR (kind = 'adjust' AND on_hand_delta <> 0 AND reserved_delta = 0)
  )
);
CREATE UNIQUE INDEX product_movements_order ON product_movements (order_id, act, sku, location) WHERE order_id IS NOT NULL;
CREATE UNIQUE INDEX product_movements_act ON product_movements (sku, location, act) WHERE order_id IS NULL;

CREATE VIEW product_reservation_lines AS
  SELECT r.order_id, m.sku, m.location, m.reserved_delta AS quantity, r.state, r.expires_at
  FROM product_reservations r JOIN product_movements m ON m.order_id = r.order_id AND m.act = 'reserve';

CREATE TABLE product_audit (
  id uuid NOT NULL PRIMARY KEY,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  before jsonb,
  after jsonb,
  request_id text
);
CREATE INDEX product_audit_subject ON product_audit (subject, at);
