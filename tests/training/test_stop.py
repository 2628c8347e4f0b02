"""Ctrl-C asks first and interrupts the second time."""

import signal

import pytest

from happyhorse.training.stop import INTERRUPTED, TIME_IS_UP, Stop, Stopped


def test_first_signal_asks_second_interrupts():
    stop = Stop()
    before = signal.getsignal(signal.SIGINT)
    with stop.listening():
        assert stop.reason() is None
        signal.raise_signal(signal.SIGINT)
        assert stop.reason() == INTERRUPTED
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_time_is_up():
    assert Stop(minutes=0).reason() == TIME_IS_UP
    assert Stop(minutes=60).reason() is None
    with pytest.raises(Stopped, match=TIME_IS_UP):
        Stop(minutes=0).check()
