import gc
import subprocess
import sys

from serving.pauses import spare_pauses

PROGRAM = """
import gc
from serving.pauses import spare_pauses
kept = [[] for _ in range(100_000)]
spare_pauses()
later = [[] for _ in range(100)]
searched = gc.get_objects()
print(gc.get_freeze_count() > len(kept), len(later) < len(searched) < 1_000)
"""


def test_what_is_in_memory_is_searched_no_more_and_what_comes_later_is():
    """In a process of its own: this one has garbage to lose."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "True"]


def test_garbage_is_taken_away_first(monkeypatch):
    calls = []
    monkeypatch.setattr(gc, "collect", lambda: calls.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: calls.append("freeze"))
    spare_pauses()
    assert calls == ["collect", "freeze"]
