-- `email_key` is the e-mail in lower case; a deleted account keeps its row, without anything that names a person.
-- `token_epoch` makes access tokens of before void; `epoch_at` says when it last grew.
-- `version` counts the account's events, so that each has its place.
CREATE TABLE user_accounts (
  id uuid NOT NULL PRIMARY KEY,
  email text NOT NULL,
  email_key text NOT NULL UNIQUE,
  name text,
  password_hash text NOT NULL,
  status text NOT NULL CHECK (status IN ('active', 'deleted')),
  token_epoch bigint NOT NULL,
  epoch_at timestamptz NOT NULL,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE INDEX user_accounts_epoch_at ON user_accounts (epoch_at);

CREATE TABLE user_roles (
  user_id uuid NOT NULL REFERENCES user_accounts (id),
  role text NOT NULL,
  PRIMARY KEY (user_id, role)
);
CREATE INDEX user_roles_role ON user_roles (role, user_id);

-- One row per refresh token. A family is one sign-in: its tokens replace one another, and end together.
CREATE TABLE user_sessions (
  id uuid NOT NULL PRIMARY KEY,
  family uuid NOT NULL,
  user_id uuid NOT NULL REFERENCES user_accounts (id),
  token_hash bytea NOT NULL UNIQUE,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  replaced_by uuid,
  revoked_at timestamptz,
  user_agent text,
  ip text
);
CREATE INDEX user_sessions_user ON user_sessions (user_id);
CREATE INDEX user_sessions_family ON user_sessions (family);
CREATE INDEX user_sessions_expiry ON user_sessions (expires_at);

CREATE TABLE user_addresses (
  id uuid NOT NULL PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES user_accounts (id),
  name text NOT NULL,
  line1 text NOT NULL,
  line2 text,
  city text NOT NULL,
  postal_code text NOT NULL,
  country text NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE INDEX user_addresses_user ON user_addresses (user_id);

-- Wrong passwords in a row, by the digest of the e-mail: e-mails without an account are counted alike.
CREATE TABLE user_login_attempts (
  email_digest bytea NOT NULL PRIMARY KEY,
  failures bigint NOT NULL,
  locked_until timestamptz,
  last_at timestamptz NOT NULL
);
CREATE INDEX user_login_attempts_last_at ON user_login_attempts (last_at);

-- `private_key` is encrypted; one row without `retired_at` signs, the newest.
CREATE TABLE user_signing_keys (
  kid text NOT NULL PRIMARY KEY,
  private_key bytea NOT NULL,
  created_at timestamptz NOT NULL,
  retired_at timestamptz
);

CREATE TABLE user_audit (
  id uuid NOT NULL PRIMARY KEY,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  before jsonb NOT NULL,
  after jsonb NOT NULL,
  request_id text NOT NULL
);
