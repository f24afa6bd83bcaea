"""What the model hub refuses, in words that say what to do."""

from converter_worker.redaction import without_secrets
from shared.errors import PlatformError, SourceGated, SourceNotFound


def hub_error(error: Exception, name: str, revision: str | None, *, endpoint: str, has_token: bool) -> PlatformError:
    """Return the platform's error for one that the hub's library raised, without a secret in it."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    # A mirror's address may hold an account.
    endpoint = without_secrets(endpoint)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError):
        return _gated(name, endpoint, has_token=has_token)
    if isinstance(error, RevisionNotFoundError):
        return _not_found(f"{name} has no revision {revision} on the model hub: name a branch, tag or commit of it.")
    if isinstance(error, RepositoryNotFoundError):
        return _not_found(
            f"The model hub has no model {name}, or it is private: check the id, or give a token in HF_TOKEN."
        )
    if status in (401, 403):
        return SourceGated(
            f"The model hub refuses the converter's token for {name} ({status}): it is wrong, has ended, or may not "
            f"read this model. Make one that may read it on {endpoint} and give it to the converter in HF_TOKEN.",
            param="source_model",
        )
    if isinstance(status, int):
        return _not_found(f"The model hub at {endpoint} cannot serve {name} now (status {status}). Try again later.")
    return _not_found(
        f"{name} is not on this machine and the model hub at {endpoint} cannot be reached. Check the network, name a "
        "mirror in HF_ENDPOINT, or give the path of a local checkpoint folder as source_model."
    )


def _gated(name: str, endpoint: str, *, has_token: bool) -> SourceGated:
    account = (
        "with the account of the converter's token, which has no access yet, and accept its licence there (some owners "
        "grant access by hand, which takes a while); then convert again"
        if has_token
        else "signed in, accept its licence there, and give the converter a token of that account in HF_TOKEN"
    )
    return SourceGated(f"{name} is gated: open {endpoint}/{name} {account}.", param="source_model")


def _not_found(message: str) -> SourceNotFound:
    return SourceNotFound(message, param="source_model")
