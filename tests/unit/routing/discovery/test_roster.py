"""Which workers a model is to have, and what has to change for that."""

from gateway.config.load import parse_settings
from gateway.config.model import Secret
from gateway.routing.catalog import VARIANTS
from gateway.routing.discovery.overrides import AddedWorker
from gateway.routing.discovery.roster import Roster, Wanted, difference
from gateway.routing.fleet import ServedModel, build_fleet
from gateway.values import ModelName, WorkerId

MODEL = ModelName("gemma-3-4b-it")
FILE = "http://a:1"
NEW = "http://b:2"


def world(workers: str = '{url: "http://a:1", api_key: "${KEY}"}') -> tuple[ServedModel, Roster]:
    """The model of a file with these workers, and its roster."""
    text = f"models: [{{name: {MODEL}, workers: [{workers}]}}]"
    settings = parse_settings(text, {"KEY": "vllm-key-123"}, VARIANTS).models
    return build_fleet(settings, created=0).models[0], Roster(settings[0])


def test_the_files_workers_are_not_the_rosters_concern() -> None:
    """Nothing is wanted beside them, and they never leave."""
    model, roster = world()
    assert roster.wanted() == {}
    assert difference(model, roster.wanted()) == ((), ())


def test_an_added_worker_joins_with_the_key_that_all_share() -> None:
    """A model whose workers have one key in common uses it for added ones too; with different keys none is guessed."""
    model, roster = world()
    roster.add([AddedWorker(MODEL, NEW, 2.0)])
    wanted = Wanted(NEW, Secret("vllm-key-123"), 2.0, "admin")
    assert difference(model, roster.wanted()).joining == (wanted,)
    worker = wanted.build()
    assert (worker.id, worker.source, worker.weight) == ("b:2", "admin", 2.0)
    _, mixed = world('{url: "http://a:1", api_key: "${KEY}"}, {url: "http://c:1"}')
    mixed.add([AddedWorker(MODEL, NEW)])
    assert mixed.wanted()[WorkerId("b:2")].api_key is None


def test_an_added_worker_that_the_file_lists_is_the_files() -> None:
    """The same worker joins only once."""
    model, roster = world()
    roster.add([AddedWorker(MODEL, FILE, 9.0)])
    assert difference(model, roster.wanted()) == ((), ())


def test_a_worker_that_is_told_of_otherwise_leaves_and_joins_again() -> None:
    """With its new weight; one that nobody tells of any more leaves."""
    model, roster = world()
    roster.add([AddedWorker(MODEL, NEW)])
    worker = difference(model, roster.wanted()).joining[0].build()
    model.use((*model.workers, worker))
    assert difference(model, roster.wanted()) == ((), ())
    roster.add([AddedWorker(MODEL, NEW, 3.0)])
    changed = difference(model, roster.wanted())
    assert changed.leaving == (worker,)
    assert [each.weight for each in changed.joining] == [3.0]
    roster.add([])
    assert difference(model, roster.wanted()) == ((worker,), ())
