"""Endpoints that need no bot token: answers to interactions, and webhooks."""

from tests.fakes.discord_platform.errors import ApiError, Json, unknown
from tests.fakes.discord_platform.model import shapes
from tests.fakes.discord_platform.model.interactions import MESSAGE, UPDATE, Interaction, Interactions
from tests.fakes.discord_platform.model.messages import Draft, Messages
from tests.fakes.discord_platform.model.world import World
from tests.fakes.discord_platform.rest.bodies import Body
from tests.fakes.discord_platform.rest.routing import NO_CONTENT, Answer, Call, Endpoint
from tests.fakes.discord_platform.rest.validation import check_message

WEBHOOK = "/webhooks/{webhook_id}/{webhook_token}"
CALLBACK = "POST /interactions/{interaction_id}/{interaction_token}/callback"


class AnswerRoutes:
    """Interaction callbacks, ``@original``, follow-ups, and posts by incoming webhooks."""

    def __init__(self, world: World, messages: Messages, interactions: Interactions) -> None:
        self._world = world
        self._messages = messages
        self._interactions = interactions

    def endpoints(self) -> dict[str, Endpoint]:
        one = WEBHOOK + "/messages/{message_id}"
        original = WEBHOOK + "/messages/@original"
        return {
            CALLBACK: self._callback,
            f"POST {WEBHOOK}": self._post,
            f"GET {original}": self._get,
            f"PATCH {original}": self._edit,
            f"DELETE {original}": self._delete,
            f"GET {one}": self._get,
            f"PATCH {one}": self._edit,
            f"DELETE {one}": self._delete,
        }

    def _callback(self, call: Call) -> Answer:
        body = call.fields
        data = body.get("data") or {}
        if body.get("type") in {MESSAGE, UPDATE}:
            check_message(Body(data, call.body.uploads), is_edit=body["type"] == UPDATE)
        interaction = self._interactions.callback(
            call.ids["interaction_id"], call.ids["interaction_token"], body, call.body.uploads
        )
        if call.query.get("with_response", "false").lower() not in {"true", "1"}:
            return NO_CONTENT
        return Answer(self._response(interaction))

    def _response(self, interaction: Interaction) -> Json:
        """ "Receiving and Responding", Interaction Callback Response Object."""
        told: Json = {"id": interaction.id, "type": interaction.data["type"]}
        answer: Json = {"interaction": told}
        if interaction.original is not None:
            told |= {
                "response_message_id": interaction.original["id"],
                "response_message_loading": interaction.is_loading,
                "response_message_ephemeral": bool(interaction.original["flags"] & shapes.EPHEMERAL),
            }
            answer["resource"] = {"type": interaction.answer, "message": self._messages.shown(interaction.original)}
        return answer

    def _interaction(self, call: Call) -> Interaction:
        interaction = self._interactions.of_token(call.ids["webhook_id"], call.ids["webhook_token"])
        if interaction is None:
            raise unknown("Webhook")
        return interaction

    def _post(self, call: Call) -> Answer:
        check_message(call.body)
        interaction = self._interactions.of_token(call.ids["webhook_id"], call.ids["webhook_token"])
        if interaction is not None:
            return Answer(self._messages.shown(self._interactions.follow_up(interaction, call.fields, call.body.uploads)))
        webhook = self._world.webhooks.get(call.ids["webhook_id"])
        if webhook is None:
            raise unknown("Webhook")
        if webhook["token"] != call.ids["webhook_token"]:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        channel = self._world.channel(str(call.query.get("thread_id", webhook["channel_id"])))
        author = {
            **shapes.make_user(webhook["id"], call.fields.get("username") or webhook["name"], bot=True),
            "global_name": None,
        }
        draft = Draft(content=call.fields.get("content") or "", uploads=call.body.uploads, embeds=call.fields.get("embeds") or [])
        message = self._messages.post_by_webhook(channel, webhook["id"], author, draft)
        return Answer(self._messages.shown(message)) if call.query.get("wait") == "true" else NO_CONTENT

    def _get(self, call: Call) -> Answer:
        message = self._interactions.message_of(self._interaction(call), call.ids.get("message_id", "@original"))
        return Answer(self._messages.shown(message))

    def _edit(self, call: Call) -> Answer:
        check_message(call.body, is_edit=True)
        message_id = call.ids.get("message_id", "@original")
        edited = self._interactions.edit_message(self._interaction(call), message_id, call.fields, call.body.uploads)
        return Answer(self._messages.shown(edited))

    def _delete(self, call: Call) -> Answer:
        self._interactions.delete_message(self._interaction(call), call.ids.get("message_id", "@original"))
        return NO_CONTENT
