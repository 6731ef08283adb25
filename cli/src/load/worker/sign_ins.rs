//! Sign-ins that are part of the load: few, since each is a bcrypt, and each renews the token of an account.

use std::rc::Rc;

use hyper::{Method, Uri};
use serde::Deserialize;

use super::super::accounts::bearer;
use super::super::chance::{Chance, Stream};
use super::super::step::Step;
use super::Brief;
use super::hands::{Hands, Watched};
use super::visitor::Visitor;

/// Numbers of sign-ins, out of the way of those of journeys.
const FIRST: u64 = 1 << 62;

#[derive(Deserialize)]
struct SignedIn<'a> {
    access_token: &'a str,
}

/// Signs one account after the other in, at the pace that is this worker's part.
pub(super) async fn sign_in(brief: Rc<Brief>, hands: Rc<Hands>, worker: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a few workers, a few sign-ins")]
    let moment =
        |number: usize| brief.moment((number * brief.workers + worker) as f64 / brief.sign_ins_per_s);
    let accounts = hands.supplies.accounts.len();
    for number in 0.. {
        let intended = moment(number);
        tokio::time::sleep_until(intended.into()).await;
        if hands.is_over.get() || accounts == 0 {
            return;
        }
        let at = (number * brief.workers + worker) % accounts;
        let stream = FIRST + (number * brief.workers + worker) as u64;
        let chance = Chance::new(brief.seed, Stream::Journey, stream);
        let hands = Rc::clone(&hands);
        // A sign-in that is slow does not hold up the next one.
        tokio::task::spawn_local(async move {
            let _watched = Watched(Rc::clone(&hands));
            let mut visitor = Visitor::new(Rc::clone(&hands), chance, intended, false);
            let body = hands.supplies.accounts[at].sign_in.clone();
            let uri = Uri::from_static("/v1/auth/login");
            let Ok(answer) = visitor.act(Step::SignIn, Method::POST, uri, body).await else { return };
            let token = serde_json::from_slice::<SignedIn<'_>>(&answer).ok();
            if let Some(renewed) = token.and_then(|session| bearer(session.access_token)) {
                hands.renew(at, renewed);
            }
        });
    }
}
