//! The user service, driven through its client as siblings and the gateway drive it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use platform::capabilities::Capabilities;
use platform::config::ShopConfig;
use platform::http::{CallError, Code, Context, Endpoint, Problem};
use platform::services::user::client::{
    AccountQuery, ChangeMe, ChangePassword, Login, NewAddress, Register, Session, SetRoles, UserClient,
};
use platform::services::user::tokens::{TokenError, Verifier};
use platform::services::user::{self, SERVICE};
use platform::services::{Job, Mounted};
use platform::storage::{Batch, Db, EngineConfig, Value};
use platform::testing::{self, postgres};
use platform::vocabulary::{Clock, Env, Identity, Role, Timestamp};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery";

struct Users {
    capabilities: Capabilities,
    folder: TempDir,
    clock: Clock,
    endpoint: Endpoint,
    client: UserClient,
    jobs: std::sync::Mutex<Vec<Job>>,
}

impl Users {
    /// The service on SQLite, and on PostgreSQL where its binaries are installed.
    async fn on_every_engine() -> Vec<Arc<Self>> {
        let mut all = vec![Arc::new(Self::embedded().await)];
        if let Some(url) = postgres::database().await {
            all.push(Arc::new(Self::new(EngineConfig::Postgres { url, connections_max: 8 }).await));
        }
        all
    }

    async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::in_folder(EngineConfig::Sqlite { path: folder.path().join("shop.db") }, folder).await
    }

    async fn new(engine: EngineConfig) -> Self {
        Self::in_folder(engine, tempfile::tempdir().unwrap()).await
    }

    async fn in_folder(engine: EngineConfig, folder: TempDir) -> Self {
        let clock = Clock::manual("2026-11-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let env = Env::seeded(clock.clone(), 7);
        let db = Db::open(&engine).await.unwrap();
        let config = ShopConfig { engine, ..ShopConfig::local(folder.path().to_owned()) };
        let capabilities = testing::capabilities_on(env, config, db, &[SERVICE]).await;
        let Mounted { router, jobs, openapi } = (SERVICE.mount)(&capabilities).await.unwrap();
        assert!(openapi.paths.paths.contains_key("/v1/auth/login"));
        let endpoint = capabilities.endpoint("user");
        endpoint.bind(router);
        let client = UserClient::new(endpoint.clone());
        Self { client, endpoint, capabilities, folder, clock, jobs: jobs.into() }
    }

    fn context(&self) -> Context {
        Context { caller: Some("gateway"), ..Context::new(&self.capabilities.env) }
    }

    fn as_user(&self, session: &Session) -> Context {
        let user = &session.user;
        let identity = Identity { user_id: user.id, email: user.email.clone(), roles: user.roles.clone() };
        Context { identity: Some(Arc::new(identity)), ..self.context() }
    }

    async fn register(&self, email: &str) -> Result<Session, Problem> {
        let account = Register { email: email.into(), password: PASSWORD.into(), name: Some("Ada".into()) };
        self.client.register(&self.context(), &account).await.map_err(problem)
    }

    async fn login(&self, email: &str, password: &str) -> Result<Session, Problem> {
        let login = Login { email: email.into(), password: password.into() };
        self.client.login(&self.context(), &login).await.map_err(problem)
    }

    async fn refresh(&self, token: &str) -> Result<Session, Problem> {
        self.client.refresh(&self.context(), token).await.map_err(problem)
    }

    async fn admin(&self) -> Context {
        user::seed_admin(&self.capabilities, PASSWORD).await.unwrap();
        self.as_user(&self.login(user::ADMIN_EMAIL, PASSWORD).await.unwrap())
    }

    async fn count(&self, sql: &str, params: Vec<Value>) -> i64 {
        self.capabilities.db.read_one(sql, params).await.unwrap().unwrap().get("n").unwrap()
    }
}

fn problem(error: CallError) -> Problem {
    error.problem().unwrap_or_else(|| panic!("a problem, not {error}")).clone()
}

fn code<T>(answer: Result<T, Problem>) -> Code {
    match answer {
        Ok(_) => panic!("it went through"),
        Err(problem) => problem.code,
    }
}

#[tokio::test]
async fn an_account_is_registered_once_and_signs_in_however_the_email_is_typed() {
    for users in Users::on_every_engine().await {
        let session = users.register("Ada@Example.com").await.unwrap();
        assert_eq!((session.user.email.as_str(), session.expires_in), ("Ada@Example.com", 900));
        assert_eq!(session.user.roles, [Role::Customer]);
        assert_eq!(code(users.register("ada@example.COM").await), Code::EmailTaken);
        let again = users.login(" ADA@example.com", PASSWORD).await.unwrap();
        assert_eq!(again.user, session.user);
        assert_ne!(again.refresh_token, session.refresh_token);
        assert_eq!(users.client.me(&users.as_user(&again)).await.unwrap(), session.user);
        let nobody = users.client.me(&users.context()).await.map_err(problem);
        assert_eq!(code(nobody), Code::Unauthenticated);
        assert_eq!(
            users.count("SELECT COUNT(*) AS n FROM user_outbox WHERE kind = 'user_registered'", vec![]).await,
            1
        );
    }
}

#[tokio::test]
async fn fifty_registrations_of_one_email_at_once_make_one_account() {
    for users in Users::on_every_engine().await {
        let tries: Vec<_> = (0..50)
            .map(|_| {
                let users = Arc::clone(&users);
                tokio::spawn(async move { users.register("ada@example.com").await.map(|_| ()) })
            })
            .collect();
        let mut made = 0;
        for one in tries {
            match one.await.unwrap() {
                Ok(()) => made += 1,
                Err(problem) => assert_eq!(problem.code, Code::EmailTaken),
            }
        }
        assert_eq!(made, 1);
        assert_eq!(users.count("SELECT COUNT(*) AS n FROM user_accounts", vec![]).await, 1);
    }
}

#[tokio::test]
async fn everything_wrong_with_a_registration_is_told_at_once() {
    for users in Users::on_every_engine().await {
        let account =
            Register { email: "nobody".into(), password: "x".repeat(73), name: Some("\u{7}".into()) };
        let refused = users.client.register(&users.context(), &account).await.map_err(problem).err().unwrap();
        let pointers: Vec<_> = refused.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!((refused.code, pointers), (Code::ValidationFailed, vec!["/email", "/password", "/name"]));
        let body = serde_json::json!({"email": "a@b.c", "password": PASSWORD, "roles": ["admin"]});
        let unknown: Result<serde_json::Value, _> =
            users.endpoint.call(&users.context(), Method::POST, "/v1/auth/register", Some(&body)).await;
        let unknown = problem(unknown.unwrap_err());
        assert_eq!((unknown.code, unknown.errors[0].pointer.as_str()), (Code::ValidationFailed, "/roles"));
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_email_look_the_same() {
    for users in Users::on_every_engine().await {
        users.register("ada@example.com").await.unwrap();
        let wrong = users.login("ada@example.com", "wrong").await.err().unwrap();
        for email in ["nobody@example.com", "not an e-mail", ""] {
            let unknown = users.login(email, "wrong").await.err().unwrap();
            assert_eq!(unknown, wrong, "{email}");
        }
        assert_eq!(wrong.code, Code::BadCredentials);
        let long = format!("{PASSWORD}{}", "x".repeat(80));
        assert_eq!(code(users.login("ada@example.com", &long).await), Code::BadCredentials);
    }
}

#[tokio::test]
async fn too_many_wrong_passwords_lock_the_email_for_a_while_with_or_without_an_account() {
    for users in Users::on_every_engine().await {
        users.register("ada@example.com").await.unwrap();
        for email in ["ada@example.com", "nobody@example.com"] {
            for _ in 0..10 {
                assert_eq!(code(users.login(email, "wrong").await), Code::BadCredentials);
            }
            let locked = users.login(email, PASSWORD).await.err().unwrap();
            assert_eq!((locked.code, locked.retry_after), (Code::RateLimited, Some(30)));
        }
        assert_eq!(
            users.count("SELECT COUNT(*) AS n FROM user_outbox WHERE kind = 'user_locked'", vec![]).await,
            1
        );
        users.clock.advance(Duration::from_secs(31));
        assert_eq!(code(users.login("ada@example.com", "wrong").await), Code::BadCredentials);
        let longer = users.login("ada@example.com", PASSWORD).await.err().unwrap();
        assert_eq!((longer.code, longer.retry_after), (Code::RateLimited, Some(60)));
        users.clock.advance(Duration::from_secs(61));
        users.login("ada@example.com", PASSWORD).await.unwrap();
        assert_eq!(code(users.login("ada@example.com", "wrong").await), Code::BadCredentials);
        users.login("ada@example.com", PASSWORD).await.expect("the count began anew");
    }
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_a_second_use_ends_the_sign_in() {
    for users in Users::on_every_engine().await {
        let first = users.register("ada@example.com").await.unwrap();
        let elsewhere = users.login("ada@example.com", PASSWORD).await.unwrap();
        let second = users.refresh(&first.refresh_token).await.unwrap();
        let third = users.refresh(&second.refresh_token).await.unwrap();
        assert_eq!(third.user, first.user);
        assert_eq!(code(users.refresh(&first.refresh_token).await), Code::RefreshReused);
        assert_eq!(code(users.refresh(&third.refresh_token).await), Code::Unauthenticated);
        users.refresh(&elsewhere.refresh_token).await.expect("another sign-in is not touched");
        assert_eq!(code(users.refresh("rt_nonsense").await), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn of_twins_that_renew_at_once_one_wins_and_the_sign_in_ends() {
    for users in Users::on_every_engine().await {
        let session = users.register("ada@example.com").await.unwrap();
        let twins: Vec<_> = (0..16)
            .map(|_| {
                let (users, token) = (Arc::clone(&users), session.refresh_token.clone());
                tokio::spawn(async move { users.refresh(&token).await })
            })
            .collect();
        let mut won = Vec::new();
        for twin in twins {
            match twin.await.unwrap() {
                Ok(session) => won.push(session),
                Err(problem) => assert_eq!(problem.code, Code::RefreshReused),
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(code(users.refresh(&won[0].refresh_token).await), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_session_ends_by_logout_or_by_time() {
    for users in Users::on_every_engine().await {
        let session = users.register("ada@example.com").await.unwrap();
        users.client.logout(&users.context(), &session.refresh_token).await.unwrap();
        users.client.logout(&users.context(), &session.refresh_token).await.expect("twice is fine");
        users.client.logout(&users.context(), "rt_unknown").await.expect("so is a token of nobody");
        assert_eq!(code(users.refresh(&session.refresh_token).await), Code::Unauthenticated);
        let session = users.login("ada@example.com", PASSWORD).await.unwrap();
        users.clock.advance(Duration::from_secs(30 * 24 * 3600));
        assert_eq!(code(users.refresh(&session.refresh_token).await), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn no_token_and_no_password_is_kept_in_the_clear() {
    let users = Users::embedded().await;
    let session = users.register("ada@example.com").await.unwrap();
    users.capabilities.db.close().await;
    let mut found = String::new();
    for file in std::fs::read_dir(users.folder.path()).unwrap().flatten() {
        let bytes = std::fs::read(file.path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in [PASSWORD, &session.refresh_token, &session.access_token] {
            if text.contains(secret) {
                found.push_str(secret);
            }
        }
    }
    assert_eq!(found, "");
}

#[tokio::test]
async fn a_new_password_ends_every_session_but_the_one_that_set_it() {
    for users in Users::on_every_engine().await {
        let session = users.register("ada@example.com").await.unwrap();
        let elsewhere = users.login("ada@example.com", PASSWORD).await.unwrap();
        let context = users.as_user(&session);
        let change = |current: &str, new: &str| ChangePassword {
            current_password: current.into(),
            new_password: new.into(),
        };
        let change_to = |change: ChangePassword| {
            let (users, context) = (&users, &context);
            async move { users.client.change_password(context, &change).await.map_err(problem) }
        };
        assert_eq!(code(change_to(change("wrong", "another good one")).await), Code::BadCredentials);
        assert_eq!(code(change_to(change(PASSWORD, "short")).await), Code::ValidationFailed);
        let renewed = change_to(change(PASSWORD, "another good one")).await.unwrap();
        for token in [&session.refresh_token, &elsewhere.refresh_token] {
            assert_eq!(code(users.refresh(token).await), Code::Unauthenticated);
        }
        users.refresh(&renewed.refresh_token).await.unwrap();
        assert_eq!(code(users.login("ada@example.com", PASSWORD).await), Code::BadCredentials);
        users.login("ada@example.com", "another good one").await.unwrap();
        let sibling = Context::background("web", &users.capabilities.env);
        let revoked = users.client.revocations(&sibling).await.unwrap().items;
        assert_eq!((revoked.len(), revoked[0].user_id, revoked[0].token_epoch), (1, session.user.id, 2));
        let outside = users.client.revocations(&users.context()).await.map_err(problem);
        assert_eq!(code(outside), Code::NotFound);
    }
}

#[tokio::test]
async fn a_user_keeps_a_name_and_addresses_that_nobody_else_sees() {
    for users in Users::on_every_engine().await {
        let ada = users.as_user(&users.register("ada@example.com").await.unwrap());
        let bob = users.as_user(&users.register("bob@example.com").await.unwrap());
        let renamed =
            users.client.change_me(&ada, &ChangeMe { name: Some(Some(" Ada L. ".into())) }).await.unwrap();
        assert_eq!(renamed.name.as_deref(), Some("Ada L."));
        assert_eq!(
            users.client.change_me(&ada, &ChangeMe { name: None }).await.unwrap().name.as_deref(),
            Some("Ada L.")
        );
        assert_eq!(users.client.change_me(&ada, &ChangeMe { name: Some(None) }).await.unwrap().name, None);
        let home = NewAddress {
            name: "Ada".into(),
            line1: "1 Road".into(),
            line2: None,
            city: "Berlin".into(),
            postal_code: "10115".into(),
            country: "DE".into(),
        };
        let kept = users.client.add_address(&ada, &home).await.unwrap();
        assert_eq!(users.client.addresses(&ada).await.unwrap().items, std::slice::from_ref(&kept));
        assert_eq!(users.client.addresses(&bob).await.unwrap().items, []);
        let stolen = users.client.delete_address(&bob, kept.id).await.map_err(problem);
        assert_eq!(code(stolen), Code::NotFound);
        let nowhere =
            users.client.add_address(&ada, &NewAddress { country: "Germany".into(), ..home.clone() }).await;
        assert_eq!(code(nowhere.map_err(problem)), Code::ValidationFailed);
        for _ in 1..50 {
            users.client.add_address(&ada, &home).await.unwrap();
        }
        assert_eq!(code(users.client.add_address(&ada, &home).await.map_err(problem)), Code::Conflict);
        users.client.delete_address(&ada, kept.id).await.unwrap();
        assert_eq!(users.client.addresses(&ada).await.unwrap().items.len(), 49);
    }
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_that_names_a_person() {
    for users in Users::on_every_engine().await {
        let session = users.register("ada@example.com").await.unwrap();
        let ada = users.as_user(&session);
        users.login("ada@example.com", "wrong").await.err().unwrap();
        users.client.delete_me(&ada).await.unwrap();
        assert_eq!(code(users.client.me(&ada).await.map_err(problem)), Code::Unauthenticated);
        assert_eq!(code(users.client.delete_me(&ada).await.map_err(problem)), Code::Unauthenticated);
        assert_eq!(code(users.refresh(&session.refresh_token).await), Code::Unauthenticated);
        assert_eq!(code(users.login("ada@example.com", PASSWORD).await), Code::BadCredentials);
        let named =
            "SELECT (SELECT COUNT(*) FROM user_accounts WHERE email_key LIKE '%ada%' OR name IS NOT NULL
                        OR password_hash <> '') + (SELECT COUNT(*) FROM user_sessions) AS n";
        assert_eq!(users.count(named, vec![]).await, 0);
        users.register("ada@example.com").await.expect("the e-mail is free again");
    }
}

#[tokio::test]
async fn roles_are_given_by_admins_only_and_every_change_is_in_the_audit() {
    for users in Users::on_every_engine().await {
        let admin = users.admin().await;
        let ada = users.register("ada@example.com").await.unwrap();
        let roles =
            |roles: &[Role]| SetRoles { roles: roles.to_vec(), reason: Some("new in support".into()) };
        let own = users.client.set_roles(&users.as_user(&ada), ada.user.id, &roles(&[Role::Admin])).await;
        assert_eq!(code(own.map_err(problem)), Code::Forbidden);
        let account = users.client.set_roles(&admin, ada.user.id, &roles(&[Role::Support])).await.unwrap();
        assert_eq!(account.roles, [Role::Customer, Role::Support]);
        let audit =
            "SELECT actor, before, after FROM user_audit WHERE action = 'roles_changed' AND subject = $1";
        let row = users.capabilities.db.read_one(audit, vec![ada.user.id.to_string().into()]).await.unwrap();
        let row = row.expect("an audit row");
        let admin_id = admin.identity.as_ref().unwrap().user_id;
        assert_eq!(row.get::<String>("actor").unwrap(), admin_id.to_string());
        assert_eq!(row.get::<serde_json::Value>("before").unwrap()["roles"], serde_json::json!(["customer"]));
        assert_eq!(row.get::<serde_json::Value>("after").unwrap()["reason"], "new in support");
        let last = users.client.set_roles(&admin, admin_id, &roles(&[])).await.map_err(problem);
        assert_eq!(code(last), Code::Conflict);
        assert_eq!(code(users.client.delete_me(&admin).await.map_err(problem)), Code::Conflict);
        let support = users.as_user(&users.login("ada@example.com", PASSWORD).await.unwrap());
        let query = AccountQuery { q: Some("ADA@".into()), ..AccountQuery::default() };
        let found = users.client.accounts(&support, &query).await.unwrap();
        assert_eq!(found.items.iter().map(|account| account.id).collect::<Vec<_>>(), [ada.user.id]);
    }
}

#[tokio::test]
async fn accounts_come_in_pages_without_gap_or_double() {
    for users in Users::on_every_engine().await {
        let admin = users.admin().await;
        for number in 0..7 {
            users.register(&format!("user{number}_%@example.com")).await.unwrap();
            users.clock.advance(Duration::from_millis(5));
        }
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let query = AccountQuery {
                q: Some("_%".into()),
                limit: Some(3),
                cursor: cursor.take(),
                role: Some(Role::Customer),
            };
            let page = users.client.accounts(&admin, &query).await.unwrap();
            seen.extend(page.items.into_iter().map(|account| account.email));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let wanted: Vec<_> = (0..7).rev().map(|number| format!("user{number}_%@example.com")).collect();
        assert_eq!(seen, wanted);
        let wrong = AccountQuery { cursor: Some("nonsense".into()), ..AccountQuery::default() };
        assert_eq!(
            code(users.client.accounts(&admin, &wrong).await.map_err(problem)),
            Code::ValidationFailed
        );
    }
}

#[tokio::test]
async fn a_token_is_verified_with_the_published_keys_until_it_ends() {
    for users in Users::on_every_engine().await {
        let session = users.register("ada@example.com").await.unwrap();
        let keys = users.client.token_keys(&users.context()).await.unwrap();
        let verifier = Verifier::new(&keys);
        let now = || users.capabilities.env.now();
        let verified = verifier.verify(&session.access_token, now()).unwrap();
        assert_eq!((verified.identity.user_id, verified.epoch), (session.user.id, 1));
        users.clock.advance(Duration::from_secs(900));
        assert_eq!(verifier.verify(&session.access_token, now()).unwrap_err(), TokenError::Expired);
    }
}

#[tokio::test]
async fn keys_rotate_and_the_retired_one_is_published_until_its_last_token_ends() {
    for users in Users::on_every_engine().await {
        let admin = users.admin().await;
        let rotate = async |context: &Context| {
            let nothing: Option<&()> = None;
            users
                .endpoint
                .call::<(), ()>(context, Method::POST, "/v1/admin/signing-keys/rotate", nothing)
                .await
        };
        let before = users.client.token_keys(&admin).await.unwrap();
        let old = users.register("ada@example.com").await.unwrap();
        assert_eq!(code(rotate(&users.as_user(&old)).await.map_err(problem)), Code::Forbidden);
        users.clock.advance(Duration::from_secs(1));
        rotate(&admin).await.unwrap();
        let after = users.client.token_keys(&admin).await.unwrap();
        assert_eq!((before.keys.len(), after.keys.len()), (1, 2));
        assert_eq!(after.keys[1], before.keys[0]);
        let now = users.capabilities.env.now();
        let new = users.login("ada@example.com", PASSWORD).await.unwrap();
        for token in [&old.access_token, &new.access_token] {
            Verifier::new(&after).verify(token, now).unwrap();
        }
        assert_eq!(
            Verifier::new(&before).verify(&new.access_token, now).unwrap_err(),
            TokenError::UnknownKey
        );
        users.clock.advance(Duration::from_secs(3600));
        let mounted = (SERVICE.mount)(&users.capabilities).await.unwrap();
        let restarted = Endpoint::in_process("user");
        restarted.bind(mounted.router);
        let later = UserClient::new(restarted).token_keys(&admin).await.unwrap();
        assert_eq!(later.keys, [after.keys[0].clone()]);
    }
}

#[tokio::test]
async fn signing_keys_are_encrypted_and_a_lost_encryption_key_makes_a_new_one() {
    for users in Users::on_every_engine().await {
        let before = users.client.token_keys(&users.context()).await.unwrap();
        let mut capabilities = users.capabilities.clone();
        capabilities.secrets = Arc::new(platform::secrets::Secrets::generate(&capabilities.env));
        let mounted = (SERVICE.mount)(&capabilities).await.unwrap();
        let endpoint = Endpoint::in_process("user");
        endpoint.bind(mounted.router);
        let after = UserClient::new(endpoint).token_keys(&users.context()).await.unwrap();
        assert_eq!(after.keys.len(), 1);
        assert_ne!(after.keys[0].kid, before.keys[0].kid);
    }
}

#[tokio::test]
async fn the_admin_is_seeded_once_and_can_be_reset() {
    for users in Users::on_every_engine().await {
        let capabilities = &users.capabilities;
        assert!(user::seed_admin(capabilities, PASSWORD).await.unwrap());
        assert!(!user::seed_admin(capabilities, "another password").await.unwrap());
        let session = users.login(user::ADMIN_EMAIL, PASSWORD).await.unwrap();
        assert_eq!(session.user.roles, [Role::Customer, Role::Admin]);
        let password = user::generate_password(&capabilities.env);
        assert_eq!(password.len(), 23);
        user::reset_admin(capabilities, &password).await.unwrap();
        assert_eq!(code(users.login(user::ADMIN_EMAIL, PASSWORD).await), Code::BadCredentials);
        assert_eq!(code(users.refresh(&session.refresh_token).await), Code::Unauthenticated);
        users.login(user::ADMIN_EMAIL, &password).await.unwrap();
    }
}

#[tokio::test]
async fn an_outdated_hash_is_made_anew_at_the_next_sign_in() {
    for users in Users::on_every_engine().await {
        let session = users.register("ada@example.com").await.unwrap();
        let mut batch = Batch::new();
        let cheap = "UPDATE user_accounts SET password_hash = $2 WHERE id = $1";
        let hash = user::hashing::Hashing::unmeasured(&platform::config::UserConfig {
            bcrypt_cost: 5,
            ..users.capabilities.config.user.clone()
        });
        let hash = hash.thread().await.unwrap().hash(PASSWORD).await.unwrap();
        batch.one("hash", cheap, vec![session.user.id.into(), hash.into()]);
        users.capabilities.db.write(batch).await.unwrap();
        users.login("ada@example.com", PASSWORD).await.unwrap();
        let configured = "SELECT COUNT(*) AS n FROM user_accounts WHERE password_hash LIKE '$2b$04$%'";
        assert_eq!(users.count(configured, vec![]).await, 1);
    }
}

#[tokio::test]
async fn a_storm_of_sign_ins_does_not_stall_other_routes() {
    for users in Users::on_every_engine().await {
        let session = users.register("ada@example.com").await.unwrap();
        let storm: Vec<_> = (0..300)
            .map(|number| {
                let users = Arc::clone(&users);
                tokio::spawn(async move { users.login(&format!("user{number}@example.com"), "wrong").await })
            })
            .collect();
        let context = users.as_user(&session);
        let mut while_storming = 0;
        while !storm.iter().all(tokio::task::JoinHandle::is_finished) {
            users.client.me(&context).await.expect("other routes go on");
            while_storming += 1;
        }
        let mut codes = std::collections::BTreeMap::new();
        for one in storm {
            *codes.entry(format!("{:?}", code(one.await.unwrap()))).or_insert(0) += 1;
        }
        assert!(while_storming > 10, "only {while_storming} requests were served beside {codes:?}");
        assert!(codes.keys().all(|code| code == "BadCredentials" || code == "Overloaded"), "{codes:?}");
    }
}

#[tokio::test]
async fn its_jobs_end_when_they_are_told_to() {
    for users in Users::on_every_engine().await {
        let stop = tokio_util::sync::CancellationToken::new();
        let jobs = std::mem::take(&mut *users.jobs.lock().unwrap());
        let running: Vec<_> = jobs.into_iter().map(|job| tokio::spawn((job.run)(stop.clone()))).collect();
        assert_eq!(running.len(), 2);
        stop.cancel();
        for job in running {
            tokio::time::timeout(Duration::from_secs(5), job).await.expect("it ended").unwrap();
        }
    }
}
