"""Stripe's own Python client against a running fakepay.

FAKEPAY_URL, FAKEPAY_API_KEY, FAKEPAY_CONTROL_TOKEN name the sandbox; FAKEPAY_WEBHOOK_SECRET signs its webhooks and
FAKEPAY_WEBHOOK_PORT is the local port that its --webhook-url points to (http://127.0.0.1:PORT/webhook). Without the
port, the tests of webhooks are skipped and say so.
"""

import json
import os
import threading
import time
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import stripe

URL = os.environ["FAKEPAY_URL"].rstrip("/")
KEY = os.environ["FAKEPAY_API_KEY"]
CONTROL = os.environ["FAKEPAY_CONTROL_TOKEN"]
WEBHOOK_SECRET = os.environ.get("FAKEPAY_WEBHOOK_SECRET", "")
WEBHOOK_PORT = int(os.environ.get("FAKEPAY_WEBHOOK_PORT", "0"))


@pytest.fixture(scope="session")
def client():
    return stripe.StripeClient(KEY, base_addresses={"api": URL}, max_network_retries=0)


@pytest.fixture
def order_id():
    return str(uuid.uuid4())


def control(method, path, body=None):
    request = urllib.request.Request(
        URL + path,
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Authorization": f"Bearer {CONTROL}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def faults():
    yield lambda **fault: control("PUT", "/control/faults", fault)
    control("DELETE", "/control/faults")


def create(client, order_id, method="pm_card_visa", amount=1999, key=None, **more):
    params = {
        "amount": amount,
        "currency": "usd",
        "payment_method": method,
        "payment_method_types": ["card"],
        "capture_method": "manual",
        "confirm": True,
        "metadata": {"order_id": order_id},
        **more,
    }
    return client.v1.payment_intents.create(params, {"idempotency_key": key or str(uuid.uuid4())})


def statement(order_id):
    return [line for line in control("GET", "/control/statement")["items"] if line["order_id"] == order_id]


def test_create_confirm_and_capture(client, order_id):
    intent = create(client, order_id)
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 1999)
    captured = client.v1.payment_intents.capture(intent.id)
    assert (captured.status, captured.amount_received) == ("succeeded", 1999)
    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    expanded = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert expanded.latest_charge.amount_captured == 1999
    assert statement(order_id) == [
        {
            "payment_intent": intent.id,
            "order_id": order_id,
            "authorized": 1999,
            "captured": 1999,
            "refunded": 0,
            "currency": "USD",
            "status": "succeeded",
        }
    ]


def test_create_then_confirm_by_itself(client, order_id):
    intent = create(client, order_id, confirm=False)
    assert intent.status == "requires_confirmation"
    confirmed = client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_mastercard"})
    assert confirmed.status == "requires_capture"
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.payment_intents.confirm(intent.id)
    assert error.value.code == "payment_intent_unexpected_state"


def test_automatic_capture(client, order_id):
    intent = create(client, order_id, capture_method="automatic")
    assert (intent.status, intent.amount_received) == ("succeeded", 1999)


def test_cancel_lets_go_of_the_money(client, order_id):
    intent = create(client, order_id)
    canceled = client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert statement(order_id)[0]["authorized"] == 0
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.payment_intents.capture(intent.id)
    assert error.value.code == "payment_intent_unexpected_state"


def test_refund_in_parts_and_never_more_than_was_taken(client, order_id):
    intent = create(client, order_id)
    client.v1.payment_intents.capture(intent.id)
    first = client.v1.refunds.create({"payment_intent": intent.id, "amount": 999, "metadata": {"order_id": order_id}})
    assert (first.status, first.amount) == ("succeeded", 999)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 1001})
    rest = client.v1.refunds.create({"payment_intent": intent.id})
    assert rest.amount == 1000
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert error.value.code == "charge_already_refunded"
    assert [refund.id for refund in client.v1.refunds.list({"payment_intent": intent.id}).data] == [rest.id, first.id]
    assert client.v1.refunds.retrieve(first.id).amount == 999
    assert statement(order_id)[0]["refunded"] == 1999


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ],
)
def test_a_decline_is_a_card_error(client, order_id, method, code, decline_code):
    with pytest.raises(stripe.CardError) as declined:
        create(client, order_id, method)
    assert (declined.value.code, declined.value.error.decline_code) == (code, decline_code)
    assert declined.value.http_status == 402
    assert declined.value.error.payment_intent.status == "requires_payment_method"
    assert statement(order_id)[0]["authorized"] == 0


def test_the_same_key_replays_and_other_parameters_are_refused(client, order_id):
    key = str(uuid.uuid4())
    first = create(client, order_id, key=key)
    again = create(client, order_id, key=key)
    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert len(statement(order_id)) == 1
    with pytest.raises(stripe.IdempotencyError):
        create(client, order_id, amount=5, key=key)


def test_a_decline_is_replayed_too(client, order_id):
    key = str(uuid.uuid4())
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            create(client, order_id, "pm_card_visa_chargeDeclined", key=key)
    assert len(statement(order_id)) == 1


def test_a_500_is_replayed_even_after_the_provider_is_well(client, order_id, faults):
    key = str(uuid.uuid4())
    faults(mode="error", count=1)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as error:
            create(client, order_id, key=key)
        assert error.value.http_status == 500
    assert statement(order_id) == []
    assert create(client, order_id).status == "requires_capture"


def test_a_time_out_after_the_charge_is_found_by_its_key(client, order_id, faults):
    key = str(uuid.uuid4())
    faults(mode="timeout_after", latency_ms=50)
    with pytest.raises(stripe.APIConnectionError):
        create(client, order_id, key=key)
    assert create(client, order_id, key=key).status == "requires_capture"
    assert len(statement(order_id)) == 1


def test_list_pages_newest_first(client):
    made = [create(client, str(uuid.uuid4())).id for _ in range(5)]
    made.reverse()
    first = client.v1.payment_intents.list({"limit": 2})
    assert ([intent.id for intent in first.data], first.has_more) == (made[:2], True)
    walked = []
    for intent in first.auto_paging_iter():
        walked.append(intent.id)
        if len(walked) == 5:
            break
    assert walked == made
    back = client.v1.payment_intents.list({"limit": 2, "ending_before": made[3]})
    assert [intent.id for intent in back.data] == made[1:3]
    assert client.v1.payment_intents.list({"created": {"lt": 1000}}).data == []


def test_search_by_metadata(client, order_id):
    intent = create(client, order_id)
    found = client.v1.payment_intents.search({"query": f"metadata['order_id']:'{order_id}'"})
    assert [hit.id for hit in found.data] == [intent.id]
    none = client.v1.payment_intents.search({"query": f"metadata['order_id']:'{order_id}' AND status:'succeeded'"})
    assert none.data == []


@pytest.mark.parametrize(
    ("params", "param"),
    [({"amount": 0}, "amount"), ({"amount": "many"}, "amount"), ({"currency": ""}, "currency")],
)
def test_bad_parameters_are_named(client, order_id, params, param):
    with pytest.raises(stripe.InvalidRequestError) as error:
        create(client, order_id, **params)
    assert error.value.param == param


def test_what_is_unknown_is_refused(client, order_id):
    with pytest.raises(stripe.InvalidRequestError):
        create(client, order_id, colour="red")
    with pytest.raises(stripe.InvalidRequestError) as error:
        create(client, order_id, method="pm_not_there")
    assert error.value.code == "resource_missing"
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.payment_intents.retrieve("pi_not_there")
    assert error.value.http_status == 404
    with pytest.raises(stripe.AuthenticationError):
        stripe.StripeClient("sk_test_wrong", base_addresses={"api": URL}).v1.payment_intents.list()


@pytest.fixture(scope="session")
def inbox():
    if not WEBHOOK_PORT:
        pytest.skip("FAKEPAY_WEBHOOK_PORT is not set: webhooks are not tested")
    box = Inbox()
    yield box
    box.server.shutdown()


class Inbox:
    """Verifies each webhook with Stripe's own code and keeps the event."""

    def __init__(self):
        inbox = self
        self.events = []
        self.refuse_next = 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                event = stripe.Webhook.construct_event(body, self.headers["stripe-signature"], WEBHOOK_SECRET)
                if inbox.refuse_next > 0:
                    inbox.refuse_next -= 1
                    self.send_response(503)
                else:
                    inbox.events.append(event)
                    self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", WEBHOOK_PORT), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, intent_id):
        return [event for event in self.events if event.data.object.id == intent_id]

    def wait(self, intent_id, count):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if len(self.of(intent_id)) >= count:
                return self.of(intent_id)
            time.sleep(0.02)
        raise AssertionError(f"{len(self.of(intent_id))} webhooks came for {intent_id}, expected {count}")


def test_webhooks_are_signed_and_told(client, order_id, inbox):
    intent = create(client, order_id)
    client.v1.payment_intents.capture(intent.id)
    told = inbox.wait(intent.id, 2)
    assert {event.type for event in told} == {"payment_intent.amount_capturable_updated", "payment_intent.succeeded"}
    assert told[0].data.object.metadata["order_id"] == order_id


def test_a_webhook_that_is_refused_comes_again(client, order_id, inbox):
    inbox.refuse_next = 2
    intent = create(client, order_id)
    assert inbox.wait(intent.id, 1)[0].type == "payment_intent.amount_capturable_updated"


def test_duplicated_early_and_lost_webhooks(client, order_id, inbox, faults):
    faults(mode="duplicate_webhook")
    twice = create(client, order_id)
    first, second = inbox.wait(twice.id, 2)[:2]
    assert first.id == second.id
    faults(mode="early_webhook")
    early = create(client, order_id)
    assert len(inbox.of(early.id)) == 1, "it came before the answer"
    faults(mode="lost_webhook")
    lost = create(client, order_id)
    faults(mode="none")
    after = create(client, order_id)
    inbox.wait(after.id, 1)
    assert inbox.of(lost.id) == []


def test_a_forged_webhook_is_told_apart(inbox):
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(b"{}", "t=1,v1=00", WEBHOOK_SECRET)
