"""Takes a published variant out of the store, with everything that is known of it."""

from converter_worker.variant_index import VariantIndex
from shared.errors import VariantCorrupt, VariantNotPublished
from shared.log import get_logger
from shared.model_store import ModelStore

log = get_logger(__name__)


def delete_published(store: ModelStore, index: VariantIndex, model: str, variant: str, created_at: str) -> None:
    """Delete the variant that was made at `created_at`; a task that comes twice, or late, does nothing more.

    The broker may deliver a task again after hours. By then the variant may have been converted anew, which is not what
    was to be deleted.

    Raises:
        StoreUnwritable: the store cannot be changed.
    """
    try:
        if store.manifest(model, variant).created_at != created_at:
            log.info("variant_made_anew", model=model, variant=variant)
            return
    except (VariantNotPublished, VariantCorrupt):
        # What has no manifest that can be read is deleted by its name.
        pass
    try:
        store.delete(model, variant)
    except VariantNotPublished:
        log.info("variant_deleted_before", model=model, variant=variant)
    index.forget(model, variant)
    log.info("variant_deleted", model=model, variant=variant)
