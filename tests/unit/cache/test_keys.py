"""Keys: the same for requests that must get the same answer, and for no others."""

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.cache.keys import Kind, answer_key, kind_of, lease_key, owner_of, pattern, resend_key

names = st.text(max_size=20)
values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | names
sampling = st.dictionaries(names, values | st.lists(names, max_size=3), max_size=5)
answers = st.fixed_dictionaries(
    {"model": names, "tenant": names, "fingerprint": st.binary(max_size=20), "prompt": names, "sampling": sampling}
)
resends = st.fixed_dictionaries(
    {
        "tenant": names,
        "reply_topic": names,
        "reply_partition": st.none() | st.integers(0, 2**31 - 1),
        "correlation_id": st.binary(max_size=20),
        "body": st.binary(max_size=20),
        "session": names,
    }
)
MAKERS = [(answer_key, answers), (resend_key, resends)]


@pytest.mark.parametrize(("make", "fields"), MAKERS)
@given(data=st.data())
def test_one_field_that_differs_makes_another_key(make, fields, data):
    """Whatever the field, and however little it differs."""
    one, other = data.draw(fields), data.draw(fields)
    name = data.draw(st.sampled_from(sorted(one)))
    changed = {**one, name: other[name]}
    assert (make(**changed) == make(**one)) == (repr(_ordered(changed)) == repr(_ordered(one)))


@pytest.mark.parametrize(
    ("make", "one", "moved"),
    [
        (answer_key, {"fingerprint": b"ab", "prompt": "c"}, {"fingerprint": b"a", "prompt": "bc"}),
        (answer_key, {"prompt": "ab{}", "sampling": {}}, {"prompt": "ab", "sampling": {}}),
        (answer_key, {"model": "ab", "tenant": "c"}, {"model": "a", "tenant": "bc"}),
        (answer_key, {"model": "a:b", "tenant": "c"}, {"model": "a", "tenant": "b:c"}),
        (resend_key, {"reply_topic": "a1", "reply_partition": 2}, {"reply_topic": "a", "reply_partition": 12}),
        (resend_key, {"correlation_id": b"ab", "body": b"c"}, {"correlation_id": b"a", "body": b"bc"}),
        (resend_key, {"body": b"ab", "session": "c"}, {"body": b"a", "session": "bc"}),
    ],
)
def test_what_moves_to_the_next_field_makes_another_key(make, one, moved):
    """Fields do not run together: "ab" + "c" is not "a" + "bc"."""
    bases: dict[Any, dict[str, Any]] = {
        answer_key: {"model": "m", "tenant": "t", "fingerprint": b"", "prompt": "", "sampling": {}},
        resend_key: {"tenant": "t", "reply_topic": "", "reply_partition": None, "correlation_id": b"", "body": b""},
    }
    base = bases[make]
    assert make(**{**base, **one}) != make(**{**base, **moved})


@given(answers)
def test_the_order_of_sampling_fields_does_not_matter(fields):
    """A mapping is its items."""
    backwards = dict(reversed(fields["sampling"].items()))
    assert answer_key(**{**fields, "sampling": backwards}) == answer_key(**fields)


def test_a_field_that_is_one_is_not_a_field_that_is_true():
    """Nor is an absent one null: what JSON tells apart, keys do."""
    base: dict[str, Any] = {"model": "m", "tenant": "", "fingerprint": b"", "prompt": "p"}
    keys = {answer_key(**base, sampling=fields) for fields in ({}, {"a": None}, {"a": 1}, {"a": True}, {"a": "1"})}
    assert len(keys) == 5


@given(answers)
def test_an_answers_key_names_its_owner(fields):
    """Model and tenant can be read from it, whatever characters they have."""
    key = answer_key(**fields)
    assert owner_of(key) == (fields["model"], fields["tenant"])
    assert kind_of(key) == Kind.ANSWER


@given(resends)
def test_a_resends_key_names_its_tenant(fields):
    """It has no model."""
    key = resend_key(**fields)
    assert owner_of(key) == (None, fields["tenant"])
    assert kind_of(key) == Kind.RESEND


@pytest.mark.parametrize("key", ["", "pelton", "pelton:a1:m:t", "other:a1:m:t:d", "pelton:s1:t:d", "pelton:a1:m:t:d:e"])
def test_a_foreign_key_has_no_owner(key):
    """Other people's keys, and our own of other kinds, are nobody's answers."""
    assert owner_of(key) is None


@given(answers, st.none() | names, st.none() | names)
def test_a_pattern_finds_exactly_its_owners_answers(fields, model, tenant):
    """Names with wildcards in them match only themselves. (`fnmatch` knows the same wildcards as Redis.)"""
    expected = model in {None, fields["model"]} and tenant in {None, fields["tenant"]}
    assert fnmatchcase(answer_key(**fields), pattern(Kind.ANSWER, model=model, tenant=tenant)) == expected


@given(resends, st.none() | names)
def test_a_pattern_finds_exactly_its_tenants_resends(fields, tenant):
    """And never an answer."""
    expected = tenant in {None, fields["tenant"]}
    assert fnmatchcase(resend_key(**fields), pattern(Kind.RESEND, tenant=tenant)) == expected
    assert not fnmatchcase(lease_key(resend_key(**fields)), pattern(Kind.RESEND))


def _ordered(fields):
    """With the sampling fields in one order; `repr` tells 1 from True and 1.0, as keys may."""
    return {**fields, "sampling": sorted(fields.get("sampling", {}).items())}
