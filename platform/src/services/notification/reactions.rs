//! What the service does on others' events: it writes down who is to be told. Sending is the senders' work, so a slow
//! mail server never holds up the queue.

use crate::bus::HandleError;
use crate::storage::Batch;
use crate::telemetry::{Attribute, SpanKind};
use crate::vocabulary::Event;

use super::{NAME, Notifications, model, store};
use crate::http::Context;

impl Notifications {
    /// The effects of one event. An event that nobody can be told of is poison: it waits among the dead letters for
    /// whoever publishes it.
    pub(super) async fn react(&self, mut event: Event) -> Result<Batch, HandleError> {
        let Some(message) = model::message_of(&event) else { return Ok(Batch::new()) };
        let (request_id, traceparent) = (event.request_id.as_deref(), event.traceparent.as_deref());
        let parent = Context::resumed(NAME, &self.env, request_id, traceparent);
        let mut span = self.telemetry.start(NAME, SpanKind::Consumer, "notify", &parent);
        span.word(Attribute::Event, message.event);
        if let Some(order_id) = model::order_of(&event) {
            span.note_order(order_id);
        }
        // Whatever sends it hangs below this span, not beside it.
        event.traceparent = Some(span.context().traceparent.to_string());
        match model::recipient(&event) {
            Ok(recipient) => {
                let batch = store::tell(&self.env, &event, message, recipient, &self.channel_names());
                self.wake_senders();
                Ok(batch)
            }
            Err(unusable) => {
                span.mark_failed();
                Err(HandleError::poison(unusable))
            }
        }
    }
}
