"""The board and the rules: every query names metrics and labels that are there, and a real Prometheus answers each."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from resilient_ai import (
    ErrorType,
    Registry,
    RetryBudget,
    RetryRule,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai.__main__ import main
from resilient_ai.telemetry import collector
from resilient_ai.usage import Usage, report_usage
from tests.helpers import ProviderError
from tests.telemetry.support import EU, US, Prometheus

needs_prometheus = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus"),
]


def printed(capsys, command) -> str:
    assert main([command]) == 0
    return capsys.readouterr().out


def queries(capsys) -> dict[str, str]:
    """Of all panels and alerts, by title."""
    board, rules = json.loads(printed(capsys, "grafana")), printed(capsys, "alerts")
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }
    expressions = [json.loads(each) for each in re.findall(r"expr: (.*)", rules)]
    return found | dict(zip(re.findall(r"alert: (\w+)", rules), expressions, strict=True))


def test_every_query_names_metrics_and_labels_that_are_there(capsys, registry):
    degrade_to("sorry", registry=registry)(failover(US, registry=registry)(None_))
    labels = {family.name: set() for family in Prometheus(registry).registry.collect()}
    for family in Prometheus(registry).registry.collect():
        for sample in family.samples:
            labels[family.name] |= set(sample.labels)
    asked = queries(capsys)

    assert len(asked) > 25
    for query in asked.values():
        for metric in re.findall(r"resilient_ai_\w+", query):
            name = re.sub(r"_(total|bucket|count|sum)$", "", metric)
            assert name in labels, f"{metric} in {query}"


async def None_(endpoint):  # noqa: N802 - a function that is only decorated
    return None


def test_panels_of_the_board_do_not_overlap(capsys):
    taken = set()
    for panel in json.loads(printed(capsys, "grafana"))["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}

        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_alert_says_what_to_do(capsys):
    rules = printed(capsys, "alerts")

    assert rules.count("- alert:") == rules.count("summary:") == rules.count("description:") == 6
    assert set(re.findall(r"severity: (\w+)", rules)) == {"page", "warning"}


# -- against a real Prometheus


class Outage:
    """Calls that go well, then an outage of both endpoints, then well again; in real time."""

    def __init__(self) -> None:
        self.registry = Registry(listeners=())
        self.registry.price = lambda model, usage: 0.000_001 * (usage.input_tokens + 4 * usage.output_tokens)
        self.fault: ErrorType | None = None
        rules = {ErrorType.MODEL_OVERLOADED: RetryRule(2, 0.05, 0.1)}
        budget = RetryBudget(capacity=10, per_second=0.1)
        where, chance = {"registry": self.registry}, random.Random(1)

        @degrade_to("sorry", name="summarize", **where)
        @classified_retry("summarize", rules=rules, **where)
        @failover(US, EU, name="summarize", health_check_interval=2.0, **where)
        @adaptive_limit("summarize", **where)
        @circuit_breaker("summarize", failure_threshold=3, recovery_timeout=2, **where)
        async def summarize(endpoint, text):
            await anyio.sleep(chance.uniform(0.002, 0.01))
            if self.fault is not None and (endpoint is US or chance.random() < 0.7):
                raise ProviderError(self.fault)
            report_usage(Usage(input_tokens=900, output_tokens=100), "small")
            return text

        @classified_retry("strict", rules=rules, budget=budget, registry=self.registry)
        async def strict(text):
            if self.fault is not None:
                raise ProviderError(self.fault)

        self._functions = summarize, strict

    async def play(self) -> None:
        for seconds, fault in ((6, None), (7, "model_overloaded"), (3, "quota_exceeded"), (6, None)):
            self.fault = None if fault is None else ErrorType(fault)
            with anyio.move_on_after(seconds):
                while True:
                    async with anyio.create_task_group() as tasks:
                        for function in self._functions:
                            tasks.start_soon(self._call, function)
                    await anyio.sleep(0.05)

    async def _call(self, function) -> None:
        with contextlib.suppress(Exception):
            await function("text")


def wall_time() -> float:
    return time.time()  # noqa: TID251 - what Prometheus goes by


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def prometheus(home, rules, target):
    """A Prometheus that scrapes twice a second, and how to ask it."""
    (home / "rules.yml").write_text(re.sub(r"for: \w+", "for: 0s", rules).replace("[5m]", "[10s]"))
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "drill", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    (home / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.DEVNULL,
    )

    def ask(path, **query):
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["data"]["result"]

    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.1)
        yield ask
    finally:
        process.terminate()
        process.wait()


class TestAgainstARealPrometheus:
    pytestmark = needs_prometheus

    def test_promtool_finds_nothing_to_say(self, capsys, registry, tmp_path):
        exposed = CollectorRegistry()
        degrade_to("sorry", registry=registry)(failover(US, registry=registry)(None_))
        exposed.register(collector(registry))
        (tmp_path / "rules.yml").write_text(printed(capsys, "alerts"))
        rules = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
        metrics = subprocess.run(["promtool", "check", "metrics"], input=generate_latest(exposed), capture_output=True)

        assert (rules.returncode, "6 rules found" in rules.stdout) == (0, True)
        assert (metrics.returncode, metrics.stdout, metrics.stderr) == (0, b"", b"")

    def test_in_an_outage_no_panel_is_empty_and_every_alert_fires(self, capsys, tmp_path, provider_errors):
        outage, exposed, asked = Outage(), CollectorRegistry(), queries(capsys)
        exposed.register(collector(outage.registry))
        server, thread = start_http_server(0, addr="127.0.0.1", registry=exposed)
        try:
            with prometheus(tmp_path, printed(capsys, "alerts"), server.server_port) as ask:
                began = wall_time()
                anyio.run(outage.play)
                answers = {
                    title: ask(
                        "query_range",
                        query=query.replace("$__rate_interval", "10s")
                        .replace("$__range", "10s")
                        .replace("[5m]", "[10s]")
                        .replace("$call_site", ".*")
                        .replace("$ai_endpoint", ".*"),
                        start=began,
                        end=wall_time(),
                        step=0.5,
                    )
                    for title, query in asked.items()
                }
                fired = ask("query_range", query='ALERTS{alertstate="firing"}', start=began, end=wall_time(), step=0.5)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

        assert [title for title, series in answers.items() if not _numbers(series)] == []
        assert {each["metric"]["alertname"] for each in fired} == {title for title in asked if title.isalnum()}


def _numbers(series) -> list[str]:
    return [value for each in series for _, value in each["values"] if value != "NaN"]
