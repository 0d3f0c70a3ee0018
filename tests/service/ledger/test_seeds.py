"""A rung's seed follows from what the rung works on."""

from collections import Counter
from dataclasses import replace

from service import ledger
from service.ledger.planning import FIRST_METHOD_SEED
from tests.service.ledger.world import World


def _unlearn_seeds(world: World) -> list[int]:
    return [handed.spec["seed"] for handed in world.handed if handed.kind == "unlearn"]


def test_asking_two_equal_models_the_same_gives_the_same_seed_and_no_second_throw(
    world: World,
) -> None:
    with world.database.write() as session:
        draft = replace(world.model_draft(), name="twin")
        twin = ledger.register_model(session, world.caller, draft).id
    world.work()
    asked = [world.request("s0"), world.request_for(twin, "s0")]
    world.work("FAIL")
    assert len({world.run_of(key).id for key in asked}) == 2
    seeds = Counter(_unlearn_seeds(world))
    assert len(seeds) == 3  # one for each rung
    assert set(seeds.values()) == {2}
    assert all(seed >= FIRST_METHOD_SEED for seed in seeds)


def test_another_forget_set_on_the_same_base_gets_another_seed(world: World) -> None:
    world.request("s0", ladder=("muda",))
    world.request("s1", ladder=("muda",))
    world.work("FAIL")
    first, second = _unlearn_seeds(world)
    assert first != second
