"""The page in a real Chromium, against the real command: seen, steered, and what happens meanwhile."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.admin.asking import admin_port
from tests.admin.browser.conftest import Watch
from tests.admin.browser.relay import Relay
from tests.conftest import Launch, Launched
from tests.whole.lines import Load, stop_process
from tests.whole.test_many import LEAN

TOKEN = "correct-horse-battery-staple"
BROKEN = "ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)"
"""What the console says of a connection that ends or is refused."""
NOTHING = re.compile("^[0\N{EN DASH}]$")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n", encoding="ascii")
    path.chmod(0o600)
    return path


@pytest.fixture
def server(launch: Launch, token_file: Path) -> Launched:
    return serving(launch, token_file)


def serving(launch: Launch, token_file: Path, env: dict[str, str] | None = None) -> Launched:
    """Two workers, ready."""
    admin = ("--admin", "127.0.0.1:0", "--admin-token-file", str(token_file))
    return launch("plain:app", "--workers", "2", *admin, env=env).ready(2)


def address(server: Launched) -> str:
    return f"http://127.0.0.1:{admin_port(server)}/"


def cell(page: Page, slot: int, head: str) -> Locator:
    """The cell of a slot's row under this heading."""
    heads = page.locator("#slots thead th").all_text_contents()
    return page.locator(f"#slots tbody tr[data-slot='{slot}']").locator("th, td").nth(heads.index(head))


def unlock(page: Page) -> None:
    page.get_by_role("button", name="Unlock…").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Unlock", exact=True).click()
    expect(page.get_by_role("button", name="Reload…")).to_be_visible()


def fits(page: Page) -> bool:
    """Nothing sticks out to the right."""
    wide: bool = page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    return wide


def test_it_says_at_once_how_it_is(server: Launched, watch: Watch) -> None:
    page = watch(address(server))
    expect(page.get_by_role("heading", level=1)).to_have_text("All 2 workers ready, idle")
    expect(page).to_have_title("✓ 2/2 plain:app")
    expect(page.locator("#facts")).to_contain_text(server.url)
    expect(page.locator("#slots tbody tr")).to_have_count(2)
    for slot, pid in server.workers().items():
        expect(cell(page, slot, "State")).to_have_text("ready")
        expect(cell(page, slot, "Pid")).to_have_text(str(pid))
    expect(page.locator("#records")).to_contain_text("all 2 workers are ready")
    # The seconds before the page was opened are there, and drawn.
    expect(page.locator(".chart canvas")).to_have_count(7)


def test_it_follows_the_traffic(server: Launched, watch: Watch) -> None:
    page = watch(address(server))
    rate = page.locator("[data-value=rate]")
    expect(rate).to_have_text("0")
    with Load(server.port) as load:
        load.wait_for_more()
        expect(rate).not_to_have_text(NOTHING)
        expect(page.locator("[data-value=connections]")).not_to_have_text(NOTHING)
        expect(page.locator("[data-value=p99]")).to_contain_text(re.compile(r"\d\sm?s"))
        expect(cell(page, 0, "Req/s")).not_to_have_text(NOTHING)
    assert not load.failures
    expect(page.get_by_role("heading", level=1)).to_have_text("All 2 workers ready, idle")


def test_a_reload_from_the_page(launch: Launch, token_file: Path, watch: Watch) -> None:
    # A reload that is over between two statuses, which come each second, is never in a headline.
    server = serving(launch, token_file, {"TEST_STARTUP_SECONDS": "1.5"})
    page = watch(address(server))
    expect(page.get_by_role("button", name="Reload…")).to_be_hidden()
    unlock(page)
    page.get_by_role("button", name="Reload…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 workers, slot by slot")
    dialog.get_by_role("button", name="Reload", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("Reload to generation 2 asked for")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Reloading to generation 2")
    expect(page.locator("#records")).to_contain_text("generation 2 serves in every slot")
    expect(page.get_by_role("heading", level=1)).to_have_text("All 2 workers ready, idle")
    for slot in (0, 1):
        expect(cell(page, slot, "Gen")).to_have_text("2")
    server.wait_for("generation 2 serves in every slot")


def test_a_wrong_token_opens_nothing_and_is_not_kept(server: Launched, watch: Watch) -> None:
    page = watch(address(server), expected="401")
    page.get_by_role("button", name="Unlock…").click()
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("wrong token")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Reload…")).to_be_visible()
    page.wait_for_function("token.value === ''")  # the dialog tells later that it was closed
    kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, token.value])"
    assert TOKEN not in page.evaluate(kept)
    page.get_by_role("button", name="Lock", exact=True).click()
    expect(page.get_by_role("button", name="Reload…")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("button", name="Unlock…")).to_be_visible()


def test_without_a_token_file_it_is_read_only(launch: Launch, watch: Watch) -> None:
    server = launch("plain:app", "--workers", "1", "--admin", "127.0.0.1:0").ready(1)
    page = watch(address(server))
    expect(page.locator("#readonly")).to_be_visible()
    page.keyboard.press("r")
    expect(page.get_by_role("status")).to_contain_text("--admin-token-file")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_crash_appears(server: Launched, watch: Watch) -> None:
    page = watch(address(server))
    pid = server.workers()[1]
    expect(cell(page, 1, "Pid")).to_have_text(str(pid))
    os.kill(pid, signal.SIGKILL)
    record = page.locator("#records li[data-level=error]")
    expect(record).to_contain_text(f"worker in slot 1 (pid {pid}) was killed by SIGKILL")
    expect(cell(page, 1, "Restarts")).to_have_text("1")
    expect(cell(page, 1, "State")).to_have_text("ready")
    expect(cell(page, 1, "Last exit")).to_contain_text("killed by SIGKILL")
    expect(cell(page, 1, "Pid")).not_to_have_text(str(pid))
    expect(page.get_by_role("heading", level=1)).to_have_text("All 2 workers ready, idle")
    expect(page.locator("#concerns")).to_contain_text("A worker in slot 1 died")
    expect(page.locator("#announcer")).to_contain_text("A worker in slot 1 died")


def test_the_events_are_filtered(server: Launched, watch: Watch) -> None:
    os.kill(server.workers()[1], signal.SIGKILL)
    server.wait_for("was killed by SIGKILL")
    server.wait_for("slot 1 is ready")
    page = watch(address(server))
    records = page.locator("#records li:visible")
    expect(records.filter(has_text="slot 1 is ready")).to_have_count(2)
    page.get_by_label("Level").select_option("error")
    expect(records).to_have_count(1)
    page.get_by_label("Level").select_option("debug")
    page.get_by_label("Kind").select_option("ready")
    page.locator("#of-slot").select_option("0")
    expect(records).to_have_count(1)
    expect(records).to_contain_text("slot 0 is ready")


def test_a_slot_is_drained_and_started_again(server: Launched, watch: Watch) -> None:
    page = watch(address(server))
    unlock(page)
    cell(page, 1, "State").click()
    detail = page.get_by_role("dialog", name="Slot 1")
    expect(detail).to_contain_text(f"pid {server.workers()[1]}")
    detail.get_by_role("button", name="Drain…").click()
    page.get_by_role("dialog", name="Drain slot 1?").get_by_role("button", name="Drain").click()
    expect(page.locator("#slot-state")).to_contain_text("drained")
    expect(page.get_by_role("heading", level=1, include_hidden=True)).to_contain_text(
        "Slot 1 taken out of service"
    )
    detail.get_by_role("button", name="Start…").click()
    page.get_by_role("dialog", name="Start slot 1?").get_by_role("button", name="Start").click()
    expect(page.locator("#slot-state")).to_have_text("ready")


def test_scaling_and_what_the_launcher_refuses(server: Launched, watch: Watch) -> None:
    page = watch(address(server), expected="40[09]")
    unlock(page)
    page.get_by_role("button", name="Scale…").click()
    page.get_by_label("Workers").fill("100000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("alert")).not_to_be_empty()
    page.get_by_label("Workers").fill("3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("All 3 workers ready, idle")
    expect(page.locator("#slots tbody tr")).to_have_count(3)


def test_a_reload_by_keyboard_alone(server: Launched, watch: Watch) -> None:
    page = watch(address(server))
    expect(page.get_by_role("heading", level=1)).to_contain_text("ready")
    page.keyboard.press("r")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("r")
    expect(page.get_by_role("button", name="Reload", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("r")
    expect(page.get_by_role("button", name="Reload", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#records")).to_contain_text("generation 2 serves in every slot")
    assert server.count("reload: generation 2, ") == 1  # what Escape left was not asked for


def test_the_table_and_the_help_by_keyboard(server: Launched, watch: Watch) -> None:
    page = watch(address(server))
    expect(page.locator("#slots tbody tr")).to_have_count(2)
    page.keyboard.press("t")
    page.keyboard.press("ArrowDown")
    focused = page.locator("#slots tbody button:focus")
    expect(focused).to_have_text("1")
    outline = "document.activeElement && getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Slot 1")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(focused).to_have_text("1")
    page.keyboard.press("?")
    help_dialog = page.get_by_role("dialog", name="Keys, and how to read this")
    expect(help_dialog).to_be_visible()
    help_dialog.get_by_label("Single-key shortcuts").uncheck()
    page.keyboard.press("Escape")
    expect(help_dialog).to_be_hidden()
    page.keyboard.press("r")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_every_control_is_reached_by_tab(server: Launched, watch: Watch) -> None:
    page = watch(address(server))
    expect(page.locator("#slots tbody tr")).to_have_count(2)
    unlock(page)
    wanted = {"reload", "scale", "lock", "theme", "help", "level", "kind", "of-slot"}
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        if wanted < set(reached) and "0" in reached:
            break
    else:
        pytest.fail(f"not all of {wanted} in {reached}")
    assert page.evaluate("document.activeElement.closest('tbody') !== null")


def test_it_reconnects_by_itself(launch: Launch, token_file: Path, watch: Watch) -> None:
    first = launch("plain:app", "--workers", "2", "--admin", "127.0.0.1:0").ready(2)
    port = admin_port(first)
    page = watch(
        f"http://127.0.0.1:{port}/",
        expected=BROKEN,
    )
    expect(page.get_by_role("heading", level=1)).to_have_text("All 2 workers ready, idle")
    assert first.stop() == 0
    lost = page.locator("#lost")
    expect(lost).to_contain_text(re.compile(r"Disconnected since \d\d:\d\d:\d\d"))
    expect(page).to_have_title("? disconnected plain:app")
    expect(page.locator("#slots tbody tr")).to_have_count(2)  # the last that was known stays to be read
    again = launch("plain:app", "--workers", "3", "--admin", f"127.0.0.1:{port}").ready(3)
    expect(lost).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_have_text("All 3 workers ready, idle")
    expect(page).to_have_title("✓ 3/3 plain:app")
    expect(page.locator("#records")).to_contain_text("another launcher from here on")
    expect(page.locator("#records")).to_contain_text("all 3 workers are ready")
    os.kill(again.workers()[2], signal.SIGKILL)
    expect(page.locator("#records li[data-level=error]")).to_have_count(1)


def test_records_are_resumed_after_a_broken_connection(server: Launched, watch: Watch) -> None:
    with Relay(admin_port(server)) as relay:
        page = watch(f"http://127.0.0.1:{relay.port}/", expected=BROKEN)
        # The first status has come, so the stream is there to be cut.
        expect(page.get_by_role("heading", level=1)).to_have_text("All 2 workers ready, idle")
        relay.cut()
        expect(page.locator("#lost")).to_contain_text("Disconnected since")
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_for("slot 0 is ready")
        expect(page.locator("#records li[data-level=error]")).to_have_count(0)
        relay.mend()
        expect(page.locator("#lost")).to_be_hidden()
        expect(page.locator("#records li[data-level=error]")).to_have_count(1)
        expect(page.locator("#records li").filter(has_text="all 2 workers are ready")).to_have_count(1)
        expect(page.locator("#records .remark")).to_have_count(0)
        expect(cell(page, 0, "Restarts")).to_have_text("1")


def test_a_silent_launcher_is_noticed(server: Launched, watch: Watch) -> None:
    page = watch(address(server), expected=BROKEN)
    expect(page.get_by_role("heading", level=1)).to_have_text("All 2 workers ready, idle")
    stop_process(server.pid)
    try:
        expect(page.locator("#lost")).to_contain_text("No news since")
    finally:
        server.signal(signal.SIGCONT)
    expect(page.locator("#lost")).to_be_hidden()
    expect(page).to_have_title("✓ 2/2 plain:app")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_in_both_schemes(server: Launched, watch: Watch, scheme: str) -> None:
    page = watch(address(server), color_scheme=scheme, viewport={"width": 360, "height": 740})
    expect(page.get_by_role("heading", level=1)).to_contain_text("ready")
    expect(page.locator("#slots tbody tr")).to_have_count(2)
    assert fits(page)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(246, 246, 244)", "dark": "rgb(15, 17, 19)"}[scheme]
    page.keyboard.press("t")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Slot 0")).to_be_visible()
    assert fits(page)


def test_the_theme_is_chosen_and_remembered(server: Launched, watch: Watch) -> None:
    page = watch(address(server), color_scheme="light")
    expect(page.locator("#theme")).to_have_text("Theme: auto")
    page.keyboard.press("d")
    page.keyboard.press("d")
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    page.reload()
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    expect(page.locator("body")).to_have_css("background-color", "rgb(15, 17, 19)")


def test_sixty_four_slots_on_one_screen(launch: Launch, watch: Watch) -> None:
    server = launch("plain:app", "--workers", "64", "--admin", "127.0.0.1:0", *LEAN)
    server.wait_for("all 64 workers are ready", patience=240)
    page = watch(address(server), viewport={"width": 1440, "height": 900})
    expect(page.get_by_role("heading", level=1)).to_have_text("All 64 workers ready, idle")
    expect(page.locator("#slots tbody tr")).to_have_count(64)
    expect(page.locator(".states .column[data-state=ready]")).to_have_count(64)
    screen = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    assert page.evaluate(screen) == [1440, 900]
    # Who is in trouble comes first; then by number; then as asked.
    first = page.locator("#slots tbody tr").first
    expect(first).to_have_attribute("data-slot", "0")
    page.get_by_role("button", name="Slot", exact=True).click()
    page.get_by_role("button", name="Slot", exact=True).click()
    expect(first).to_have_attribute("data-slot", "63")
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Slot")
    page.get_by_role("button", name="State", exact=True).click()
    os.kill(server.workers()[41], signal.SIGKILL)
    expect(cell(page, 41, "Restarts")).to_have_text("1")
    expect(cell(page, 41, "State")).to_have_text("ready")
    page.set_viewport_size({"width": 360, "height": 740})
    assert fits(page)
    server.signal(signal.SIGQUIT)
    server.wait(120)
