"""The protocol of leases and ends under every order of events that Hypothesis thinks of; disks are real folders."""

from __future__ import annotations

from hypothesis import settings

from tests.support.model_protocol import Protocol

TestProtocol = Protocol.TestCase
# So many that most of the mutations of test_model_mutations.py would be seen.
TestProtocol.settings = settings(max_examples=max(30, settings().max_examples), deadline=None)
