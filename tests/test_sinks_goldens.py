"""What each format writes of one small run, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from test_sinks import FORMATS, judged, written

from riskline.finding import Redaction
from riskline.records import Failure, Judged, Label, Origin, Outcome, Region, Span
from riskline.sinks import SinkOptions

FACTS = {"version": "1", "guard": "g", "policy": "p"}


@dataclass(frozen=True)
class Line:
    """A text that stands alone on a line, ten columns in."""

    number: int

    def region(self, span: Span) -> Region:
        return Region(self.number, span[0] + 11, self.number, span[1] + 11)


def on_line(number: int, text: str, label: Label, unseen: tuple[str, ...] = ()) -> Judged:
    one = judged(text, label=label, line=number)
    (turn,) = one.record.turns
    record = replace(one.record, turns=(replace(turn, place=Line(number)),))
    return Judged(record, replace(one.verdict, unseen=unseen))


OUTCOMES: list[Outcome] = [
    on_line(1, "a bomb now", Label.unsafe),
    on_line(2, "so rude", Label.controversial),
    Failure("invalid-json", "not JSON", Origin("p.jsonl", 3)),
    on_line(4, "ok", Label.safe, ("image", "hologram")),
    on_line(5, "fine", Label.safe),
]

SHOWN = {
    "text": [
        "p.jsonl:1:11  unsafe 0.934  Violent",
        "    a bomb now",
        "    riskline trace p.jsonl:1",
        "p.jsonl:2:11  controversial 0.934  Violent",
        "    so rude",
        "    riskline trace p.jsonl:2",
        "p.jsonl:3  not judged (invalid-json): not JSON",
        "p.jsonl:4  not judged (unseen): has parts that no text guard sees: image, hologram",
    ],
    "json": [
        '{"schema":1,"version":"1","guard":"g","policy":"p","findings":[',
        '{"kind":"finding","address":"p.jsonl:1","path":"p.jsonl","line":1,"column":11,"end_line":1,"end_column":21,"label":"unsafe","risk":0.934,"category":"Violent","judged":"prompt","span":[0,10],"message":"unsafe (0.934): Violent, prompt","fingerprint":"e504b4848061a406ba95faa892ce1783","guard":"tiny@12345678","policy":"default@12345678","trace":"riskline trace p.jsonl:1","excerpt":"a bomb now"},',
        '{"kind":"finding","address":"p.jsonl:2","path":"p.jsonl","line":2,"column":11,"end_line":2,"end_column":18,"label":"controversial","risk":0.934,"category":"Violent","judged":"prompt","span":[0,7],"message":"controversial (0.934): Violent, prompt","fingerprint":"9faf2edabcbeb1c8fd4e1adb4ab14b78","guard":"tiny@12345678","policy":"default@12345678","trace":"riskline trace p.jsonl:2","excerpt":"so rude"}',
        '],"failures":[',
        '{"kind":"failure","address":"p.jsonl:3","code":"invalid-json","message":"not JSON"},',
        '{"kind":"failure","address":"p.jsonl:4","code":"unseen","message":"parts that no text guard sees: image, hologram"}',
        '],"summary":{"judged":3,"labels":{"safe":1,"controversial":1,"unsafe":1},"flagged":{"controversial":1,"unsafe":1},"not_judged":2,"failures":{"invalid-json":1},"unseen":1,"skipped":{},"windowed":0,"context_truncated":0,"empty":0,"cached":0}}',
    ],
    "jsonl": [
        '{"schema":1,"kind":"finding","address":"p.jsonl:1","path":"p.jsonl","line":1,"column":11,"end_line":1,"end_column":21,"label":"unsafe","risk":0.934,"category":"Violent","judged":"prompt","span":[0,10],"message":"unsafe (0.934): Violent, prompt","fingerprint":"e504b4848061a406ba95faa892ce1783","guard":"tiny@12345678","policy":"default@12345678","trace":"riskline trace p.jsonl:1","excerpt":"a bomb now"}',
        '{"schema":1,"kind":"finding","address":"p.jsonl:2","path":"p.jsonl","line":2,"column":11,"end_line":2,"end_column":18,"label":"controversial","risk":0.934,"category":"Violent","judged":"prompt","span":[0,7],"message":"controversial (0.934): Violent, prompt","fingerprint":"9faf2edabcbeb1c8fd4e1adb4ab14b78","guard":"tiny@12345678","policy":"default@12345678","trace":"riskline trace p.jsonl:2","excerpt":"so rude"}',
        '{"schema":1,"kind":"failure","address":"p.jsonl:3","code":"invalid-json","message":"not JSON"}',
        '{"schema":1,"kind":"failure","address":"p.jsonl:4","code":"unseen","message":"parts that no text guard sees: image, hologram"}',
    ],
    "sarif": [
        '{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{"columnKind":"unicodeCodePoints","results":[',
        '{"ruleId":"violent","level":"error","message":{"text":"unsafe (0.934): Violent, prompt. riskline trace p.jsonl:1"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":1,"startColumn":11,"endLine":1,"endColumn":21}}}],"partialFingerprints":{"riskline/v1":"e504b4848061a406ba95faa892ce1783:1"},"properties":{"label":"unsafe","risk":0.934,"probabilities":{"safe":0.066,"controversial":0.071,"unsafe":0.863},"judged":"prompt","address":"p.jsonl:1"},"codeFlows":[{"threadFlows":[{"locations":[{"location":{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":1,"startColumn":11,"endLine":1,"endColumn":16}},"message":{"text":"risk 0.90"}}},{"location":{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":1,"startColumn":16,"endLine":1,"endColumn":21}},"message":{"text":"risk 0.95"}}}]}]}]},',
        '{"ruleId":"violent","level":"warning","message":{"text":"controversial (0.934): Violent, prompt. riskline trace p.jsonl:2"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":2,"startColumn":11,"endLine":2,"endColumn":18}}}],"partialFingerprints":{"riskline/v1":"9faf2edabcbeb1c8fd4e1adb4ab14b78:1"},"properties":{"label":"controversial","risk":0.934,"probabilities":{"safe":0.066,"controversial":0.071,"unsafe":0.863},"judged":"prompt","address":"p.jsonl:2"},"codeFlows":[{"threadFlows":[{"locations":[{"location":{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":2,"startColumn":11,"endLine":2,"endColumn":14}},"message":{"text":"risk 0.90"}}},{"location":{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":2,"startColumn":14,"endLine":2,"endColumn":18}},"message":{"text":"risk 0.95"}}}]}]}]}',
        '],"tool":{"driver":{"name":"riskline","version":"1","rules":[{"id":"violent","name":"Violent","shortDescription":{"text":"A text that the guard judges risky, of the kind: Violent."},"fullDescription":{"text":"A text that the guard judges risky, of the kind: Violent."},"help":{"text":"A text that the guard judges risky, of the kind: Violent."}}],"properties":{"guard":"g","policy":"p"}}},"invocations":[{"executionSuccessful":false,"toolExecutionNotifications":[{"level":"error","message":{"text":"not judged, invalid-json: not JSON"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":3,"startColumn":1,"endLine":3,"endColumn":1}}}]},',
        '{"level":"error","message":{"text":"not judged in part, unseen: image, hologram"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":4,"startColumn":1,"endLine":4,"endColumn":1}}}]}]}]}]}',
    ],
    "github": [
        "::error file=p.jsonl,line=1,col=11,endLine=1,endColumn=21,title=riskline%3A unsafe::unsafe (0.934): Violent, prompt | riskline trace p.jsonl:1",
        "::warning file=p.jsonl,line=2,col=11,endLine=2,endColumn=18,title=riskline%3A controversial::controversial (0.934): Violent, prompt | riskline trace p.jsonl:2",
        "::error file=p.jsonl,line=3,title=riskline%3A not judged::invalid-json: not JSON",
        "::error file=p.jsonl,line=4,title=riskline%3A not judged::unseen: image, hologram",
    ],
    "junit": [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<testsuites><testsuite name="riskline" tests="5" failures="2" errors="2" skipped="0">',
        '<testcase classname="riskline" name="p.jsonl:1"><failure type="unsafe" message="unsafe (0.934): Violent, prompt">p.jsonl:1, line 1, column 11',
        "a bomb now",
        "riskline trace p.jsonl:1</failure></testcase>",
        '<testcase classname="riskline" name="p.jsonl:2"><failure type="controversial" message="controversial (0.934): Violent, prompt">p.jsonl:2, line 2, column 11',
        "so rude",
        "riskline trace p.jsonl:2</failure></testcase>",
        '<testcase classname="riskline" name="p.jsonl:3"><error type="invalid-json" message="not judged (invalid-json)">not JSON</error></testcase>',
        '<testcase classname="riskline" name="p.jsonl:4"><error type="unseen" message="not judged (unseen)">image, hologram</error></testcase>',
        "</testsuite></testsuites>",
    ],
}

REDACTED = {
    "text": [
        "p.jsonl:1:11  unsafe 0.934  Violent",
        "    code points 0 to 10, hash 93b99687fc22808212904375530dc76c",
        "    riskline trace p.jsonl:1",
        "p.jsonl:2:11  controversial 0.934  Violent",
        "    code points 0 to 7, hash 44290ff33fe2aeab6c0260275dc13dad",
        "    riskline trace p.jsonl:2",
        "p.jsonl:3  not judged (invalid-json)",
        "p.jsonl:4  not judged (unseen): has parts that no text guard sees: image, other",
    ],
    "json": [
        '{"schema":1,"version":"1","guard":"g","policy":"p","findings":[',
        '{"kind":"finding","address":"p.jsonl:1","path":"p.jsonl","line":1,"column":11,"end_line":1,"end_column":21,"label":"unsafe","risk":0.934,"category":"Violent","judged":"prompt","span":[0,10],"message":"unsafe (0.934): Violent, prompt","fingerprint":"93b99687fc22808212904375530dc76c","guard":"tiny@12345678","policy":"default@12345678","trace":"riskline trace p.jsonl:1"},',
        '{"kind":"finding","address":"p.jsonl:2","path":"p.jsonl","line":2,"column":11,"end_line":2,"end_column":18,"label":"controversial","risk":0.934,"category":"Violent","judged":"prompt","span":[0,7],"message":"controversial (0.934): Violent, prompt","fingerprint":"44290ff33fe2aeab6c0260275dc13dad","guard":"tiny@12345678","policy":"default@12345678","trace":"riskline trace p.jsonl:2"}',
        '],"failures":[',
        '{"kind":"failure","address":"p.jsonl:3","code":"invalid-json"},',
        '{"kind":"failure","address":"p.jsonl:4","code":"unseen","message":"parts that no text guard sees: image, other"}',
        '],"summary":{"judged":3,"labels":{"safe":1,"controversial":1,"unsafe":1},"flagged":{"controversial":1,"unsafe":1},"not_judged":2,"failures":{"invalid-json":1},"unseen":1,"skipped":{},"windowed":0,"context_truncated":0,"empty":0,"cached":0}}',
    ],
    "jsonl": [
        '{"schema":1,"kind":"finding","address":"p.jsonl:1","path":"p.jsonl","line":1,"column":11,"end_line":1,"end_column":21,"label":"unsafe","risk":0.934,"category":"Violent","judged":"prompt","span":[0,10],"message":"unsafe (0.934): Violent, prompt","fingerprint":"93b99687fc22808212904375530dc76c","guard":"tiny@12345678","policy":"default@12345678","trace":"riskline trace p.jsonl:1"}',
        '{"schema":1,"kind":"finding","address":"p.jsonl:2","path":"p.jsonl","line":2,"column":11,"end_line":2,"end_column":18,"label":"controversial","risk":0.934,"category":"Violent","judged":"prompt","span":[0,7],"message":"controversial (0.934): Violent, prompt","fingerprint":"44290ff33fe2aeab6c0260275dc13dad","guard":"tiny@12345678","policy":"default@12345678","trace":"riskline trace p.jsonl:2"}',
        '{"schema":1,"kind":"failure","address":"p.jsonl:3","code":"invalid-json"}',
        '{"schema":1,"kind":"failure","address":"p.jsonl:4","code":"unseen","message":"parts that no text guard sees: image, other"}',
    ],
    "sarif": [
        '{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{"columnKind":"unicodeCodePoints","results":[',
        '{"ruleId":"violent","level":"error","message":{"text":"unsafe (0.934): Violent, prompt. riskline trace p.jsonl:1"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":1,"startColumn":11,"endLine":1,"endColumn":21}}}],"partialFingerprints":{"riskline/v1":"93b99687fc22808212904375530dc76c:1"},"properties":{"label":"unsafe","risk":0.934,"probabilities":{"safe":0.066,"controversial":0.071,"unsafe":0.863},"judged":"prompt","address":"p.jsonl:1"},"codeFlows":[{"threadFlows":[{"locations":[{"location":{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":1,"startColumn":11,"endLine":1,"endColumn":16}},"message":{"text":"risk 0.90"}}},{"location":{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":1,"startColumn":16,"endLine":1,"endColumn":21}},"message":{"text":"risk 0.95"}}}]}]}]},',
        '{"ruleId":"violent","level":"warning","message":{"text":"controversial (0.934): Violent, prompt. riskline trace p.jsonl:2"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":2,"startColumn":11,"endLine":2,"endColumn":18}}}],"partialFingerprints":{"riskline/v1":"44290ff33fe2aeab6c0260275dc13dad:1"},"properties":{"label":"controversial","risk":0.934,"probabilities":{"safe":0.066,"controversial":0.071,"unsafe":0.863},"judged":"prompt","address":"p.jsonl:2"},"codeFlows":[{"threadFlows":[{"locations":[{"location":{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":2,"startColumn":11,"endLine":2,"endColumn":14}},"message":{"text":"risk 0.90"}}},{"location":{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":2,"startColumn":14,"endLine":2,"endColumn":18}},"message":{"text":"risk 0.95"}}}]}]}]}',
        '],"tool":{"driver":{"name":"riskline","version":"1","rules":[{"id":"violent","name":"Violent","shortDescription":{"text":"A text that the guard judges risky, of the kind: Violent."},"fullDescription":{"text":"A text that the guard judges risky, of the kind: Violent."},"help":{"text":"A text that the guard judges risky, of the kind: Violent."}}],"properties":{"guard":"g","policy":"p"}}},"invocations":[{"executionSuccessful":false,"toolExecutionNotifications":[{"level":"error","message":{"text":"not judged, invalid-json"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":3,"startColumn":1,"endLine":3,"endColumn":1}}}]},',
        '{"level":"error","message":{"text":"not judged in part, unseen: image, other"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"p.jsonl"},"region":{"startLine":4,"startColumn":1,"endLine":4,"endColumn":1}}}]}]}]}]}',
    ],
    "github": [
        "::error file=p.jsonl,line=1,col=11,endLine=1,endColumn=21,title=riskline%3A unsafe::unsafe (0.934): Violent, prompt | code points 0 to 10, hash 93b99687fc22808212904375530dc76c | riskline trace p.jsonl:1",
        "::warning file=p.jsonl,line=2,col=11,endLine=2,endColumn=18,title=riskline%3A controversial::controversial (0.934): Violent, prompt | code points 0 to 7, hash 44290ff33fe2aeab6c0260275dc13dad | riskline trace p.jsonl:2",
        "::error file=p.jsonl,line=3,title=riskline%3A not judged::invalid-json",
        "::error file=p.jsonl,line=4,title=riskline%3A not judged::unseen: image, other",
    ],
    "junit": [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<testsuites><testsuite name="riskline" tests="5" failures="2" errors="2" skipped="0">',
        '<testcase classname="riskline" name="p.jsonl:1"><failure type="unsafe" message="unsafe (0.934): Violent, prompt">p.jsonl:1, line 1, column 11',
        "code points 0 to 10, hash 93b99687fc22808212904375530dc76c",
        "riskline trace p.jsonl:1</failure></testcase>",
        '<testcase classname="riskline" name="p.jsonl:2"><failure type="controversial" message="controversial (0.934): Violent, prompt">p.jsonl:2, line 2, column 11',
        "code points 0 to 7, hash 44290ff33fe2aeab6c0260275dc13dad",
        "riskline trace p.jsonl:2</failure></testcase>",
        '<testcase classname="riskline" name="p.jsonl:3"><error type="invalid-json" message="not judged (invalid-json)"></error></testcase>',
        '<testcase classname="riskline" name="p.jsonl:4"><error type="unseen" message="not judged (unseen)">image, other</error></testcase>',
        "</testsuite></testsuites>",
    ],
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_is_written_so(name: str) -> None:
    assert written(name, OUTCOMES, SinkOptions(facts=FACTS)).decode() == "\n".join([*SHOWN[name], ""])


@pytest.mark.parametrize("name", FORMATS)
def test_a_redacted_run_is_written_so(name: str) -> None:
    assert written(name, OUTCOMES, SinkOptions(Redaction(b"key"), facts=FACTS)).decode() == "\n".join(
        [*REDACTED[name], ""]
    )
