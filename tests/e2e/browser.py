"""Headless Chromium, driven as a person would use Airflow's pages. Nothing of it reaches another host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1440,1200",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A browser with a new profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.set_page_load_timeout(60)
        yield driver
    finally:
        driver.quit()


def log_in(driver: Any, url: str, user: str, password: str) -> None:
    """Through Airflow's own form."""
    from selenium.webdriver.common.by import By

    driver.get(f"{url}/auth/login/")
    waited(driver, By.ID, "username").send_keys(user)
    driver.find_element(By.ID, "password").send_keys(password)
    driver.find_element(By.CSS_SELECTOR, "input[type=submit], button[type=submit]").click()
    waited(driver, By.CSS_SELECTOR, "nav, #root *")


def waited(driver: Any, by: str, what: str, seconds: float = 30) -> Any:
    """The element, once it is there."""
    from selenium.webdriver.support import expected_conditions
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds).until(expected_conditions.presence_of_element_located((by, what)))


def picture(driver: Any, folder: Path, name: str) -> Path:
    """A screenshot, also left under STORY_PICTURES for a person to look at."""
    for place in filter(None, (folder, os.environ.get("STORY_PICTURES"))):
        path = Path(place) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        driver.save_screenshot(str(path))
    return folder / f"{name}.png"
