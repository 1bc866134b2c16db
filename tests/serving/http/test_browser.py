"""The page as people meet it: a real browser, a real server with the shipped models, which wants a key."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from serving.service.access import make_key
from tests.serving.server.running import PATIENCE, ROOT, Server, metrics, start_server

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium with its driver (Debian: apt-get install chromium chromium-driver)"
)
KEY, KNOWN_KEY = make_key("browser")
TRANSLATOR, ANSWERER = "mbart-de-en-2-4-8", "medquad-fairytale-qa-2-4-8"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
TEXT = "Mein Bruder hat sein Fahrrad verkauft, weil er ein neues Auto haben will."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = [ROOT / "models" / name for name in (TRANSLATOR, ANSWERER)]
    with start_server(tmp_path_factory.mktemp("server"), models, "--api-keys", KNOWN_KEY.line()) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The page at / with its models, the key entered."""

    def __init__(self, browser: WebDriver, server: Server) -> None:
        self.browser = browser
        self.server = server

    def open(self, width: int = 1280) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.console()  # what an earlier page left
        self.browser.get(self.server.url)
        self.wait(lambda: self.focused == "key")
        self.press(KEY, Keys.ENTER)
        self.wait(lambda: self.find("ask").is_displayed())

    def find(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def field(self, name: str) -> WebElement:
        return self.browser.find_element(By.NAME, name)

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.browser, PATIENCE, 0.02).until(lambda _: condition())

    def press(self, *keys: str) -> None:
        ActionChains(self.browser, duration=0).send_keys(*keys).perform()

    def choose_task(self, task: str) -> None:
        self.browser.find_element(By.CSS_SELECTOR, f"#tasks label:has([value={task}])").click()

    def enter(self, field: WebElement, text: str) -> None:
        field.clear()
        field.send_keys(text)

    def wait_for_answer(self) -> str:
        self.wait(lambda: self.find("report").is_displayed() or self.find("error").is_displayed())
        assert not self.find("error").is_displayed(), self.find("error").text
        return self.find("output").text

    @property
    def focused(self) -> str:
        return str(self.browser.execute_script("return document.activeElement.id || document.activeElement.name"))

    @property
    def faults(self) -> list[str]:
        """What the console has, without what the missing key caused before it was entered."""
        return [message for message in self.console() if "v1/models - Failed to load resource" not in message]

    def console(self) -> list[str]:
        """What was written there since it was last asked for."""
        return [entry["message"] for entry in self.browser.get_log("browser")]  # type: ignore[no-untyped-call]


@pytest.fixture
def page(browser: WebDriver, server: Server) -> Page:
    page = Page(browser, server)
    page.open()
    return page


def unary(server: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = httpx.post(f"{server.url}{path}", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE)
    answer: dict[str, Any] = response.json()
    return answer


def test_a_translation_streams_in_and_equals_the_unary_answer(page: Page) -> None:
    page.browser.execute_script(
        "window.updates = 0;"
        "new MutationObserver((records) => { updates += records.filter((each) => each.addedNodes.length).length; })"
        ".observe(document.getElementById('output'), { childList: true });"
    )
    page.enter(page.find("text"), TEXT)
    page.enter(page.field("num_beams"), "1")
    page.find("send").click()
    shown = page.wait_for_answer()
    body = {"text": TEXT, "source_language": "de", "target_language": "en", "parameters": {"num_beams": 1}}
    result = unary(page.server, "/v1/translate", body)["results"][0]
    assert shown == result["text"]
    # In how many pieces is a matter of speed: what comes within a frame is drawn at once.
    assert page.browser.execute_script("return updates") >= 1
    figures = page.find("figures").text.splitlines()
    assert figures[figures.index("Tokens written") + 1] == str(result["generated_tokens"])
    assert page.faults == []


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    page.find("examples").find_element(By.TAG_NAME, "button").click()
    page.wait_for_answer()
    loaded = page.browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    page.browser.get(f"{page.server.url}/docs")
    page.wait(lambda: page.browser.find_elements(By.CSS_SELECTOR, "#operations article"))
    loaded += page.browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert {f"{page.server.url}/v1/translate", f"{page.server.url}/openapi.json"} <= set(loaded)
    assert [url for url in loaded if not url.startswith(f"{page.server.url}/")] == []
    assert page.faults == []


def test_the_keyboard_is_enough(page: Page) -> None:
    reached = []
    page.browser.execute_script("document.activeElement.blur()")
    while page.focused != "text":
        page.press(Keys.TAB)
        outline = "return getComputedStyle(document.activeElement.nextElementSibling?.tagName === 'B' ? "
        outline += "document.activeElement.nextElementSibling : document.activeElement).outlineStyle"
        assert page.browser.execute_script(outline) != "none", page.focused
        reached.append(page.focused)
        assert len(reached) < 30, reached
    assert [name for name in reached if name in ("task", "model", "source-language", "swap", "target-language")] == [
        "task",
        "model",
        "source-language",
        "swap",
        "target-language",
    ]
    page.press("Guten Morgen!")
    ActionChains(page.browser, duration=0).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    body = {"text": "Guten Morgen!", "source_language": "de", "target_language": "en"}
    assert page.wait_for_answer() == unary(page.server, "/v1/translate", body)["results"][0]["text"]
    page.field("task").send_keys(Keys.ARROW_RIGHT)
    assert page.find("question").is_displayed()
    assert page.find("send").text == "Answer"


def test_a_question_is_answered_from_its_passages(page: Page) -> None:
    page.choose_task("question-answering")
    question = "Who came to the door?"
    context = ["One evening a wolf came to the door of the woodcutter.", "A king had three sons."]
    page.enter(page.find("question"), question)
    page.enter(page.find("passage-1"), context[0])
    page.find("add-passage").click()
    page.press(context[1])
    page.find("send").click()
    shown = page.wait_for_answer()
    assert shown == unary(page.server, "/v1/answer", {"question": question, "context": context})["results"][0]["text"]


def test_several_outputs_are_listed(page: Page) -> None:
    page.enter(page.find("text"), TEXT)
    page.find("ask").find_element(By.CSS_SELECTOR, ".more summary").click()
    page.enter(page.field("num_return_sequences"), "3")
    page.find("send").click()
    page.wait_for_answer()
    body = {"text": TEXT, "source_language": "de", "parameters": {"num_return_sequences": 3}}
    sequences = unary(page.server, "/v1/translate", body)["results"][0]["sequences"]
    listed = page.find("alternatives").find_elements(By.TAG_NAME, "li")
    assert [each.text for each in listed] == [each["text"] for each in sequences]


def test_an_error_is_shown_as_the_server_words_it_and_its_field_is_marked(page: Page) -> None:
    page.enter(page.find("text"), TEXT)
    page.enter(page.field("num_beams"), "9999")
    page.find("send").click()
    page.wait(lambda: page.find("error").is_displayed())
    refused = unary(page.server, "/v1/translate", {"text": TEXT, "source_language": "de", "parameters": {"num_beams": 9999}})
    assert page.find("error").text.splitlines()[0] == refused["error"]["message"]
    assert page.field("num_beams").get_attribute("aria-invalid") == "true"
    page.enter(page.field("num_beams"), "1")
    page.find("send").click()
    page.wait_for_answer()
    assert page.field("num_beams").get_attribute("aria-invalid") is None


def test_a_running_generation_is_cancelled_here_and_on_the_server(page: Page) -> None:
    def cancelled() -> float:
        return sum(
            value
            for (name, labels), value in metrics(page.server).items()
            if name == "dqbart_requests_total" and ("outcome", "cancelled") in labels
        )

    before = cancelled()
    page.enter(page.find("text"), "Wie geht es dir heute? " * 60)
    page.find("ask").find_element(By.CSS_SELECTOR, ".more summary").click()
    for name, value in (("num_beams", "16"), ("max_new_tokens", "255"), ("min_new_tokens", "250")):
        page.enter(page.field(name), value)
    Select(page.field("truncation")).select_by_value("chunk")
    page.find("send").click()
    page.wait(lambda: page.find("cancel").is_displayed())
    page.press(Keys.ESCAPE)
    page.wait(lambda: page.find("state").text.startswith("Cancelled after "))
    assert not page.find("cancel").is_displayed()
    page.wait(lambda: cancelled() == before + 1)


def test_a_phone_never_scrolls_sideways(page: Page) -> None:
    page.open(width=360)
    page.find("ask").find_element(By.CSS_SELECTOR, ".more summary").click()
    for task in ("translation", "question-answering"):
        page.choose_task(task)
        page.find("examples").find_element(By.TAG_NAME, "button").click()
        page.wait_for_answer()
        assert page.browser.execute_script("return document.documentElement.scrollWidth") == 360
    page.browser.get(f"{page.server.url}/docs")
    page.wait(lambda: page.browser.find_elements(By.CSS_SELECTOR, "#operations article"))
    assert page.browser.execute_script("return document.documentElement.scrollWidth") == 360


def shown(score: float) -> str:
    """As JavaScript's toFixed rounds, which takes the larger of two that are as near."""
    return str(Decimal(score).quantize(Decimal("0.1"), ROUND_HALF_UP))


def test_the_scores_of_student_and_teacher_are_shown(page: Page) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    model = httpx.get(f"{page.server.url}/v1/models", headers=headers, timeout=PATIENCE).json()["models"][0]
    table = page.find("scores").text
    for evaluation in model["evaluations"]:
        for score in evaluation["scores"]:
            assert shown(score["student"]) in table
            assert shown(score["teacher"]) in table
    assert f"{model['compression_ratio']:.1f}×" in page.find("facts").text
