//! One conversation with one server over its socket, with a deadline for every word: a server that is frozen still
//! accepts connections and answers nothing, not even an error.

use std::path::Path;
use std::time::Duration;

use platform::app::installed_postgres::USER;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// Nothing came in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

/// A connection as the superuser.
pub(super) struct Session {
    client: Client,
    deadline: Duration,
}

impl Session {
    /// Connects to `database` of the server whose socket is in `folder`. Every word has `deadline`.
    pub(super) async fn open(
        folder: &Path,
        port: u16,
        database: &str,
        deadline: Duration,
    ) -> Result<Self, Silence> {
        let mut config = Config::new();
        config.host_path(folder).port(port).user(USER).dbname(database).application_name("shopctl");
        let connecting = timeout(deadline, config.connect(NoTls)).await;
        let (client, connection) = connecting.map_err(|_| Silence::Late(deadline))?.map_err(refused)?;
        tokio::spawn(connection);
        Ok(Self { client, deadline })
    }

    /// Runs `sql` and answers the rows of its last statement, as text.
    pub(super) async fn ask(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Silence> {
        self.ask_within(sql, self.deadline).await
    }

    /// [`Session::ask`] with a deadline of its own, for what takes its time.
    pub(super) async fn ask_within(
        &self,
        sql: &str,
        deadline: Duration,
    ) -> Result<Vec<Vec<Option<String>>>, Silence> {
        let answer = timeout(deadline, self.client.simple_query(sql)).await;
        let messages = answer.map_err(|_| Silence::Late(deadline))?.map_err(refused)?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// The one value that `sql` answers; none when there is no row, or it is null.
    pub(super) async fn value(&self, sql: &str) -> Result<Option<String>, Silence> {
        Ok(self.ask(sql).await?.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }
}

fn refused(error: tokio_postgres::Error) -> Silence {
    let why = error.as_db_error().map_or_else(|| error.to_string(), |told| told.message().to_owned());
    Silence::Refused(why)
}
