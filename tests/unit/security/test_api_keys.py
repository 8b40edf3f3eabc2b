"""API keys are random, recognisable, and known by their digest."""

from __future__ import annotations

import hashlib
import re

from micro.clock import SystemClock
from micro.redact import redact_mapping, redact_text
from micro.security.api_keys import PREFIX, digest_of, new_api_key
from micro.spec.gateway import ApiKey
from micro.testing import FakeClock


def test_a_key_has_256_bits_of_chance_after_its_prefix():
    keys = {new_api_key(SystemClock()) for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(PREFIX + r"[\w-]{43}", key) for key in keys)


def test_a_key_comes_from_the_clock_s_chance():
    assert new_api_key(FakeClock()) == new_api_key(FakeClock()) != new_api_key(FakeClock(seed=1))


def test_the_digest_is_what_the_configuration_holds():
    key = new_api_key(FakeClock())
    digest = digest_of(key)
    assert digest == "sha256:" + hashlib.sha256(key.encode()).hexdigest()
    assert ApiKey(hash=digest).hash == digest


def test_a_key_that_slips_into_a_text_is_hidden():
    key = new_api_key(FakeClock())
    for text in (f"X-API-Key: {key}", f"got {key} from a client", f'{{"k": "{key}"}}', f"?api_key={key}"):
        assert key not in redact_text(text)
    assert key not in repr(redact_mapping({"x-api-key": key, "other": [key]}))
