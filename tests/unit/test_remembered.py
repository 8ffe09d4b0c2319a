from worker.kept.remembered import Remembered


def test_the_oldest_is_forgotten() -> None:
    names = Remembered(2)
    for name in ("a", "b", "a", "c"):
        names.add(name)
    assert names.all() == ("a", "c")
    assert "b" not in names
