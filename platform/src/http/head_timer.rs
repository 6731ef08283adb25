//! The time that a connection may take to send a request's head, without a timer for each request.
//!
//! hyper asks for a sleep when it begins to wait for a head and drops it when the head has come, and each time tokio
//! would put a timer into its wheel and take it out again, under a lock that all threads share. Here a connection has
//! one timer for good. It is moved only when it fires, which is once for each time of patience and not for each request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// The timer of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadTimer {
    /// Where the sleep is while nobody waits.
    kept: Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let mut sleep = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sleep) = &mut sleep
            && sleep.deadline() > deadline.into()
        {
            sleep.as_mut().reset(deadline.into());
        }
        Box::pin(HeadSleep { timer: self.clone(), sleep, deadline })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

/// A wait for one head.
struct HeadSleep {
    timer: HeadTimer,
    /// Whatever it is set to, it is not set to later than `deadline`.
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    deadline: Instant,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while sleep.as_mut().poll(context).is_ready() {
            if tokio::time::Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl Drop for HeadSleep {
    fn drop(&mut self) {
        *self.timer.kept.lock().unwrap_or_else(PoisonError::into_inner) = self.sleep.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins to wait, and gives up at once.
    async fn glance(timer: &HeadTimer, duration: Duration) {
        let mut wait = timer.sleep(duration);
        let is_over =
            std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await;
        assert!(!is_over, "a wait of {duration:?} is over at once");
    }

    #[tokio::test]
    async fn each_wait_ends_at_its_own_time_though_there_is_one_timer() {
        let (timer, hour, moment) =
            (HeadTimer::default(), Duration::from_secs(3600), Duration::from_millis(20));
        glance(&timer, hour).await;
        let kept = || timer.kept.lock().unwrap().as_ref().map(|sleep| sleep.deadline());
        assert!(kept().is_some(), "the timer is kept for the next wait");
        let began = Instant::now();
        timer.sleep(moment).await;
        glance(&timer, moment).await;
        timer.sleep(moment * 3).await;
        assert!(began.elapsed() >= moment * 4, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_wait_that_was_never_looked_at_sets_no_timer() {
        let timer = HeadTimer::default();
        drop(timer.sleep(Duration::from_secs(1)));
        assert!(timer.kept.lock().unwrap().is_none());
    }
}
