"""When the files of certificates are read again (`renewal`): what counts as a change, and when it is acted upon."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from twisted.logger import LogEvent, LogLevel, formatEvent

from tests.control.renewing import Recorder, Scene, said, with_another_ctime
from wsrelay.config.mistakes import ConfigError, Mistake


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.dispose()


@pytest.fixture
def site(scene: Scene) -> Recorder:
    return scene.listener("site")


def test_unchanged_files_are_not_read(scene: Scene, site: Recorder, logged: list[LogEvent]) -> None:
    renewal = scene.start(site)
    scene.looks(100)
    assert (site.renewals, renewal.renewed, dict(renewal.failing)) == ([], 0, {})
    assert logged == []


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def in_place_of_equal_age_and_size(file: Path, text: str) -> None:
    """As `cp -p` or rsync leave it; only ctime tells."""
    before = file.stat()

    def write() -> None:
        file.write_text(text)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    with_another_ctime(file, write)


def by_rename(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def by_rename_of_an_older_file(file: Path, text: str) -> None:
    by_rename(file, text)
    os.utime(file, (1, 1))


WAYS = [in_place, in_place_of_equal_age_and_size, by_rename, by_rename_of_an_older_file]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_changed_files_are_served_once_after_two_looks(
    scene: Scene, site: Recorder, logged: list[LogEvent], way: Callable[[Path, str], None]
) -> None:
    renewal = scene.start(site)
    scene.looks(3)
    for file in site.files:
        way(file, "new")
    scene.looks(1)
    assert site.renewals == []
    scene.looks(1)
    assert site.renewals == ["new"]
    scene.looks(100)
    assert (site.renewals, renewal.renewed) == (["new"], 1)
    assert [formatEvent(event) for event in logged] == ["site: new handshakes get new"]


def test_a_change_before_the_first_look_is_seen(scene: Scene, site: Recorder) -> None:
    renewal = scene.make(site.watched)
    site.write("new")
    renewal.start()
    scene.looks(2)
    assert site.renewals == ["new"]


def test_links_that_are_set_to_another_file_are_a_change(scene: Scene) -> None:
    """As certbot's live/ are; the files of both lineages stay as they are."""
    old, new = scene.listener("old"), scene.listener("new")
    new.write("new")
    live = Recorder("live", *(scene.folder / f"live-{part}.pem" for part in ("chain", "key")))
    for link, file in zip(live.files, old.files, strict=True):
        link.symlink_to(file)
    scene.start(live)
    scene.looks(2)
    for link, file in zip(live.files, new.files, strict=True):
        swapped = link.with_suffix(".new")
        swapped.symlink_to(file)
        swapped.rename(link)
    scene.looks(2)
    assert live.renewals == ["new"]


def test_a_linked_folder_that_is_exchanged_is_a_change(scene: Scene) -> None:
    """As Kubernetes renews a mounted Secret: files are links to `..data/…`, and `..data` is set anew."""
    for version in ("1", "2"):
        (scene.folder / version).mkdir()
        (scene.folder / version / "tls.pem").write_text(version)
    data, file = scene.folder / "..data", scene.folder / "tls.pem"
    data.symlink_to("1")
    file.symlink_to("..data/tls.pem")
    mounted = Recorder("mounted", file)
    scene.start(mounted)
    scene.looks(2)
    (scene.folder / "..data_tmp").symlink_to("2")
    (scene.folder / "..data_tmp").rename(data)
    scene.looks(2)
    assert mounted.renewals == ["2"]


@pytest.mark.parametrize("tenths", range(1, 20, 3))
def test_key_and_chain_may_be_changed_3_seconds_apart(
    scene: Scene, site: Recorder, logged: list[LogEvent], tenths: int
) -> None:
    """Wherever the looks fall; nobody hears of what was only half done."""
    renewal = scene.start(site)
    chain, key = site.files
    scene.clock.advance(tenths / 10)
    key.write_text("new")
    for _ in range(30):
        scene.clock.advance(0.1)
    assert (site.renewals, dict(renewal.failing)) == ([], {})
    chain.write_text("new")
    scene.looks(2)
    assert site.renewals == ["new"]
    assert [formatEvent(event) for event in logged] == ["site: new handshakes get new"]


def test_a_file_that_goes_on_changing_is_not_read_before_it_stands_still(scene: Scene, site: Recorder) -> None:
    scene.start(site)
    for number in range(5):
        site.write(f"part {number}")
        scene.looks(1)
    assert site.renewals == []
    scene.looks(1)
    assert site.renewals == ["part 4"]


def test_files_that_are_away_for_one_look_are_not_missed_by_anybody(
    scene: Scene, site: Recorder, logged: list[LogEvent]
) -> None:
    """Removed and written again, as some deploy hooks do it."""
    scene.start(site)
    for file in site.files:
        file.unlink()
    scene.looks(1)
    site.write("new")
    scene.looks(2)
    assert site.renewals == ["new"]
    assert said(logged, LogLevel.error) == []


def test_a_change_of_permissions_is_a_change(scene: Scene, site: Recorder) -> None:
    """The owner's fault is said when it is made, not when the next certificate comes; and mended without a touch."""
    renewal = scene.start(site)
    key = site.files[1]
    with_another_ctime(key, lambda: key.chmod(0))
    site.bug = ConfigError((Mistake("key.pem: cannot read: Permission denied", "key"),))  # root may read it even so
    scene.looks(4)
    assert renewal.failing == {"site": "key.pem: cannot read: Permission denied"}
    with_another_ctime(key, lambda: key.chmod(0o600))
    site.bug = None
    scene.looks(2)
    assert (site.renewals, dict(renewal.failing)) == (["old"], {})


def test_a_touch_does_no_harm(scene: Scene, site: Recorder) -> None:
    scene.start(site)
    site.files[0].touch()
    scene.looks(10)
    assert site.renewals == ["old"]


def test_what_changes_while_it_is_read_is_read_again(scene: Scene, site: Recorder) -> None:
    read = site.renew

    def renew() -> Sequence[str]:
        warnings = read()
        if len(site.renewals) == 1:
            site.write("newer")
        return warnings

    site.renew = renew  # type: ignore[method-assign]
    scene.start(site)
    site.write("new")
    scene.looks(2)
    assert site.renewals == ["new"]
    scene.looks(2)
    assert site.renewals == ["new", "newer"]


def test_a_file_that_two_listeners_share_is_renewed_for_both(scene: Scene) -> None:
    one = scene.listener("one")
    two = Recorder("two", *one.files)
    scene.start(one, two)
    one.write("new")
    scene.looks(2)
    assert (one.renewals, two.renewals) == (["new"], ["new"])


@pytest.mark.parametrize("asked", [False, True])
def test_once_stopped_nothing_is_looked_at(scene: Scene, site: Recorder, asked: bool) -> None:
    renewal = scene.start(site)
    site.write("new")
    scene.looks(1)
    if asked:
        renewal.look_now()
    renewal.stop()
    scene.looks(10)
    assert site.renewals == []
    renewal.stop()


def test_with_nothing_to_watch_the_clock_is_left_alone(scene: Scene) -> None:
    renewal = scene.start()
    renewal.look_now()
    assert scene.clock.getDelayedCalls() == []
