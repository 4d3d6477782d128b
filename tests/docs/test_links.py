"""Every link inside the documentation leads somewhere, and every page can be reached."""

from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, links


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


LINKS = [(page, link) for page in PAGES if page.exists() for link in links(page) if "://" not in link]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{relative(page)}->{link}" for page, link in LINKS])
def test_a_link_leads_to_a_file_and_a_heading(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(ROOT / "docs")], ids=relative)
def test_a_page_is_linked_from_an_index(page: Path) -> None:
    indexes = [ROOT / "README.md", ROOT / "docs/README.md", ROOT / "docs/decisions/README.md"]
    targets = {(index.parent / link.partition("#")[0]).resolve() for index in indexes for link in links(index)}
    assert page in targets
