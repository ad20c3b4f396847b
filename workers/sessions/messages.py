"""Error messages for the sender of a request whose session cannot be continued."""

from pelton.cache.sessions.store import StoreFailure

UNAVAILABLE = "The session's history cannot be reached for now: send the request again in a while."
REFUSED = (
    "The session's history cannot be used, as the workers' Redis refuses it, which will not pass by itself: have it "
    "mended (the workers' log has the cause), or send the request without a session."
)
DAMAGED = "The session's history is damaged and cannot be continued: begin another session."
TOO_LONG = "The turn is longer than a session's history may be: send less at once, or send it outside of a session."
OF_FAILURE = {StoreFailure.MOVED: UNAVAILABLE, StoreFailure.TOO_LONG: TOO_LONG}
