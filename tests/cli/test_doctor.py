from happyhorse.cli import doctor
from happyhorse.cli.doctor import Finding, examine, report
from happyhorse.errors import WeightsError
from happyhorse.weights import registry


def test_this_machine_can_do_what_its_tests_do():
    findings = {finding.what: finding for finding in examine()}
    for needed in ("python", "torch", "mp4", "disk"):
        assert findings[needed].state == "ok", findings[needed]
    assert "libx264" not in findings["mp4"].detail
    assert {"memory", "gpu", "foal", "espeak-ng", "magihuman-base"} <= set(findings)


def test_missing_things_come_with_the_way_to_mend_them(capsys):
    fine = Finding("torch", "ok", "2.13.0", "pip install torch")
    assert report([fine, Finding("espeak-ng", "optional", "not installed", "apt-get install espeak-ng")]) == 0
    shown = capsys.readouterr().out
    assert "-> apt-get install espeak-ng" in shown
    assert "-> pip install torch" not in shown
    assert "generate will work here" in shown
    assert report([fine, Finding("foal", "missing", "damaged", "reinstall")]) == 2
    assert "generate will not work: foal" in capsys.readouterr().out


def test_damaged_weights_are_found(monkeypatch):
    def damaged(name):
        raise WeightsError(f"{name} is damaged: SHA-256 0 instead of 1")

    monkeypatch.setattr(registry, "resolve", damaged)
    foal = next(finding for finding in doctor._weights() if finding.what == "foal")
    assert foal.state == "missing"
    assert "SHA-256" in foal.detail
    assert foal.fix
