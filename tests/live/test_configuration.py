"""What is written in supervisord.conf is what happens, or a line says why not."""

from __future__ import annotations

from harness import healthcheck
from harness import program
from harness import section

JOB = program('job', 'sleeper.py')


def test_a_check_in_two_included_files_is_invalid_and_the_log_names_both(supervisord):
    sv = supervisord(start=False)
    folder = sv.dir / 'conf.d'
    folder.mkdir()
    (folder / 'a.conf').write_text(healthcheck('same', 'http', 'job', url='/a', port=1))
    (folder / 'b.conf').write_text(healthcheck('same', 'http', 'job', url='/b'))
    good = healthcheck('good', 'memory', 'job', max_rss='1GB')
    sv.rewrite(JOB + good + section('include', {'files': 'conf.d/*.conf'}))
    sv.start()
    line = f'[healthcheck:same]: it stands in {folder}/a.conf and in {folder}/b.conf, expected one section of that name'
    assert {each['name']: each['error'] for each in sv.health.listChecks()} == {'good': '', 'same': line}
    assert f'health: {line}' in sv.log()
    assert sv.health.getCheckStatus('same', 'job')['state'] == 'invalid'
    (folder / 'b.conf').unlink()
    assert sv.health.reloadChecks() == {'added': [], 'changed': ['same'], 'removed': [], 'invalid': []}
