"""The routes that targets search with: those of the corpus, and two smaller tables with what these lack."""

import re

from wsrelay.config.settings import (
    PathKind,
    PathPattern,
    RedirectTo,
    Respond,
    Route,
    ToUpstream,
    WebSocketPolicy,
)

ADMIN, APP, TENANT = ToUpstream("admin"), ToUpstream("app"), ToUpstream("tenant")
_KINDS = {"=": PathKind.EXACT, "~": PathKind.REGEX}


def route(
    path: str,
    action: ToUpstream | RedirectTo | Respond,
    host: bytes | None = None,
    websocket: WebSocketPolicy = WebSocketPolicy.ALLOW,
) -> Route:
    """A route as the configuration would write it."""
    kind = _KINDS.get(path[0], PathKind.PREFIX)
    text = path.lstrip("=~").encode()
    regex = re.compile(text) if kind is PathKind.REGEX else None
    return Route(PathPattern(kind, text, regex), action, host, websocket=websocket, name=path)


CORPUS = (
    route("/", APP),
    route("/admin", ADMIN),
    route("=/exact", ADMIN),
    route("~^/re/[0-9]+$", ADMIN),
    route("/api", ToUpstream("app", rewrite=b"/v1")),
    route("/ws", APP),
    route("/only-ws", APP, websocket=WebSocketPolicy.REQUIRE),
    route("/no-ws", APP, websocket=WebSocketPolicy.REFUSE),
    route("/hello", Respond(200, b"hello\n")),
    route("/moved", RedirectTo("https://app.example{uri}")),
    route("/", TENANT, b"tenant.example"),
    route("/", TENANT, b"*.wild.example"),
)
TABLES = (
    CORPUS,
    # No route for everything; a prefix that ends in a slash, and rewriting to and from the root.
    (
        route("/a/", ToUpstream("app", rewrite=b"/")),
        route("/a/b", ADMIN),
        route("/c d", ToUpstream("app", rewrite=b"/x/")),
        route("=/a/secret", ToUpstream("admin", rewrite=b"/s")),
        route("/", TENANT, b"*.example"),
    ),
    (
        route("/", ToUpstream("app", rewrite=b"/all")),
        route("~^/[a-z]{2}/", ToUpstream("app", rewrite=b"/two")),
        route("/admin", ADMIN, b"app.example"),
        route("/admin/open", APP),
    ),
)
