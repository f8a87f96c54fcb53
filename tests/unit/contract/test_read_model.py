"""Names in the read model that MongoDB takes apart at dots."""

from uuid import UUID

from bson.binary import Binary
from hypothesis import given
from hypothesis import strategies as st

from contract.read_model import applied_field, generation_name


@given(st.binary(min_size=16, max_size=16))
def test_a_generation_is_one_step_of_a_path_whatever_its_bytes(collection_uuid: bytes) -> None:
    generation = generation_name(Binary(collection_uuid, 4))

    assert UUID(generation).bytes == collection_uuid
    assert applied_field(generation, 3).split(".") == ["applied", generation, "3"]


def test_bytes_that_are_a_dot_do_not_show() -> None:
    assert generation_name(b"\xd2." + b"$" * 14) == "d22e2424-2424-2424-2424-242424242424"
