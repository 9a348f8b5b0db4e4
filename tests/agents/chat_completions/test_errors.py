"""What the errors of many servers mean."""

import msgspec
import pytest

from gatewayd.agents.chat_completions.errors import ContextFull, error_in_answer, error_of_status
from gatewayd.model.errors import AgentFailed, NeedsOperator, OutcomeUnknown, TryAgain


@pytest.mark.parametrize(
    ("status", "repeatable", "kind"),
    [
        (401, True, NeedsOperator),
        (403, False, NeedsOperator),
        (429, True, TryAgain),
        (429, False, TryAgain),
        (503, False, TryAgain),
        (500, True, TryAgain),
        (529, True, TryAgain),
        (408, True, TryAgain),
        (500, False, OutcomeUnknown),
        (400, True, AgentFailed),
        (404, False, AgentFailed),
        (302, True, AgentFailed),
    ],
)
def test_a_status_names_its_cure(status: int, repeatable: bool, kind: type[Exception]) -> None:
    error = error_of_status(status, b'{"error":{"message":"because"}}', after_seconds=3.0, repeatable=repeatable)
    assert type(error) is kind
    assert str(status) in str(error)
    assert ": because" in str(error)
    assert not isinstance(error, TryAgain) or error.after_seconds == 3.0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":"no such model"}', ": no such model"),
        (b'{"object":"error","message":"too long"}', ": too long"),
        (b'{"detail":"Not Found"}', ": Not Found"),
        (b"<html>secrets of a proxy</html>", ""),
        (b"\xff", ""),
        (b'{"error":{"message":"' + b"x" * 5000 + b'"}}', ": " + "x" * 300),
    ],
)
def test_the_provider_s_words_are_found_and_bounded(body: bytes, words: str) -> None:
    error = error_of_status(404, body, after_seconds=None, repeatable=True)
    assert str(error) == f"the model's server answers 404 Not Found{words}"


def said(message: str, **more: object) -> bytes:
    return msgspec.json.encode({"error": {"message": message, **more}})


FULL = [
    # llama.cpp and llama-cpp-python
    (400, said("the request exceeds the available context size, try increasing it", code=400)),
    (400, said("too many", type="exceed_context_size_error", n_ctx=8192)),
    (400, said("Requested tokens (5000) exceed context window of 2048")),
    # LM Studio
    (400, b'{"error":"Trying to keep the first 111490 tokens when context the overflows."}'),
    (400, said("The number of tokens to keep from the initial prompt is greater than the context length.")),
    (500, said("Context size has been exceeded.")),
    # vLLM, OpenAI, OpenRouter
    (400, b'{"object":"error","message":"This model\'s maximum context length is 8192 tokens. However, you requested 9000"}'),
    (400, said("too much", code="context_length_exceeded")),
    (400, said("This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens")),
    (400, said("Provider returned error", metadata={"raw": '{"message":"prompt is too long: 9 tokens > 8 maximum"}'})),
    # Mistral, Anthropic, xAI, Groq, Gemini, TGI, Moonshot, DashScope, Bedrock, Ollama
    (422, said("Prompt contains 35000 tokens and 0 draft tokens, too large for model with 32768 maximum context length")),
    (400, said("prompt is too long: 205000 tokens > 200000 maximum", type="invalid_request_error")),
    (400, said("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000")),
    (400, b'{"error":"This model\'s maximum prompt length is 131072 but the request contains 537812 tokens."}'),
    (413, said("Request too large for model `x` on tokens per minute (TPM)", code="rate_limit_exceeded")),
    (400, b'[{"error":{"message":"The input token count (40000) exceeds the maximum number of tokens allowed (32768)."}}]'),
    (422, b'{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096"}'),
    (400, said("Invalid request: Your request exceeded model token limit: 8192")),
    (400, said("Range of input length should be [1, 30720]")),
    (400, said("Input is too long for requested model.")),
    (400, b'{"error":"input length exceeds maximum context length"}'),
    # a limit per minute that is smaller than the request, and a proxy's
    (429, said("Request too large for gpt-4: Limit 30000, Requested 40000. The input or output tokens must be reduced")),
    (413, b"<html>413 Request Entity Too Large</html>"),
]


@pytest.mark.parametrize(("status", "body"), FULL)
def test_a_full_context_is_told_from_other_refusals(status: int, body: bytes) -> None:
    error = error_of_status(status, body, after_seconds=None, repeatable=True)
    assert isinstance(error, ContextFull)
    assert error.kind == "too_long"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, said("max_tokens is too large: 99999")),
        (400, said("Unsupported parameter: temperature")),
        (404, said("no such model: context length 8k")),
        (429, said("Rate limit reached for requests", code="rate_limit_exceeded")),
        (429, said("You exceeded your current quota, please check your plan. Please retry in 33s.", status="RESOURCE_EXHAUSTED")),
    ],
)
def test_other_refusals_are_not_taken_for_a_full_context_or_an_empty_account(status: int, body: bytes) -> None:
    error = error_of_status(status, body, after_seconds=None, repeatable=True)
    assert not isinstance(error, ContextFull | NeedsOperator)
    assert isinstance(error, TryAgain) == (status == 429)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, said("You exceeded your current quota", type="insufficient_quota", code="insufficient_quota")),
        (429, said("Your account is suspended due to insufficient balance", type="exceeded_current_quota_error")),
        (429, said("Insufficient balance or no resource package. Please recharge.", code="1113")),
        (402, said("Insufficient credits", code=402)),
        (402, b""),
        (400, said("Your credit balance is too low to access the API", type="invalid_request_error")),
        (403, said("spend limit", code="organization_spend_limit_exceeded")),
        (503, said("Billing hard limit has been reached", code="billing_hard_limit_reached")),
    ],
)
def test_an_empty_account_is_mended_by_no_waiting(status: int, body: bytes) -> None:
    error = error_of_status(status, body, after_seconds=20, repeatable=True)
    assert isinstance(error, NeedsOperator)
    assert "no waiting mends that" in error.reason


def test_a_busy_server_is_tried_again_when_it_says_so_inside_of_an_answer() -> None:
    for error_value in ({"type": "overloaded_error"}, {"code": "rate_limit_exceeded"}, {"status": 503}):
        assert isinstance(error_in_answer(error_value, "", repeatable=True), TryAgain)


def test_what_a_router_passes_on_is_among_the_words() -> None:
    body = b'{"error":{"message":"Provider returned error","metadata":{"raw":"the GPU is on fire","provider_name":"x"}}}'
    assert str(error_of_status(400, body, after_seconds=None, repeatable=True)).endswith(
        ": Provider returned error: the GPU is on fire"
    )
