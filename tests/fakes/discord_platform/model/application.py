"""The application, its bot user, its token and its signing key ("Application Resource")."""

from base64 import urlsafe_b64encode
from hashlib import sha256

from nacl.signing import SigningKey

from tests.fakes.discord_platform.errors import Json
from tests.fakes.discord_platform.model.events import PRIVILEGED

_FLAGS = {"presences": 1 << 13, "members": 1 << 15, "message_content": 1 << 19}
"""The _LIMITED flags, which apps in fewer than 100 guilds have (Application Flags)."""


class Application:
    """One app. ``privileged`` holds the names of the intents that are switched on in the portal."""

    def __init__(self, app_id: str, bot: Json) -> None:
        self.id = app_id
        self.bot = bot
        self.privileged = {"message_content"}
        self.interactions_endpoint_url: str | None = None
        self.commands: dict[str, list[Json]] = {}
        """By guild id; "" holds the global ones."""
        self.token_resets = 0
        self.token = self._make_token()
        self._key = SigningKey(sha256(f"key of {app_id}".encode()).digest())

    @property
    def verify_key(self) -> str:
        """The public key of HTTP interactions, in hex."""
        return self._key.verify_key.encode().hex()

    def sign(self, timestamp: str, body: bytes) -> str:
        """X-Signature-Ed25519 of a request ("Interactions", Validating Security Request Headers)."""
        return self._key.sign(timestamp.encode() + body).signature.hex()

    def allows(self, intents: int) -> bool:
        """Whether every privileged intent among these is switched on."""
        return not any(intents & bit and name not in self.privileged for name, bit in PRIVILEGED.items())

    def reset_token(self) -> str:
        """As Discord does when the session starts are used up, and as an operator does in the portal."""
        self.token_resets += 1
        self.token = self._make_token()
        return self.token

    def _make_token(self) -> str:
        """``base64(bot id).time.signature``, as tokens look."""
        head = urlsafe_b64encode(self.bot["id"].encode()).decode().rstrip("=")
        tail = urlsafe_b64encode(sha256(f"{self.id} {self.token_resets}".encode()).digest()).decode()[:38]
        return f"{head}.GfAkE{self.token_resets % 10}.{tail}"

    def flags(self) -> int:
        return sum(bit for name, bit in _FLAGS.items() if name in self.privileged)

    def as_json(self, owner: Json) -> Json:
        """GET /applications/@me."""
        return {
            "id": self.id,
            "name": self.bot["username"],
            "icon": None,
            "description": "",
            "type": None,
            "summary": "",
            "is_monetized": False,
            "is_verified": False,
            "is_discoverable": False,
            "bot": self.bot,
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": self.verify_key,
            "flags": self.flags(),
            "flags_new": str(self.flags()),
            "eligible_oauth2_scopes": ["bot", "applications.commands"],
            "hook": True,
            "storefront_available": False,
            "integration_types_config": {"0": {}},
            "owner": owner,
            "team": None,
            "redirect_uris": [],
            "interactions_endpoint_url": self.interactions_endpoint_url,
            "role_connections_verification_url": None,
            "interactions_version": 1,
            "interactions_event_types": [],
            "event_webhooks_status": 1,
            "explicit_content_filter": 0,
            "rpc_application_state": 0,
            "store_application_state": 1,
            "verification_state": 1,
            "discoverability_state": 1,
            "discovery_eligibility_flags": 0,
            "monetization_state": 1,
            "monetization_eligibility_flags": 0,
            "approximate_guild_count": 0,
            "approximate_user_install_count": 0,
            "approximate_user_authorization_count": 0,
        }
