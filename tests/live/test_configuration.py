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


def test_a_command_for_a_shell_is_invalid_and_works_as_a_json_array(supervisord):
    """Its words reached the program as arguments: `true || …` passed, whatever stood behind it."""
    quiet = {'processes': 'job', 'on_failure': 'none'}
    shell = '["sh", "-c", "false || exit 3"]'
    sv = supervisord(
        JOB
        + healthcheck('words', 'command', command='true && exit 3', **quiet)
        + healthcheck('array', 'command', command=shell, **quiet)
        + healthcheck('dump', 'memory', max_rss='1GB', pre_restart_command='gcore $HEALTHCHECK_PID', **quiet)
    )
    errors = {each['name']: each['error'] for each in sv.health.listChecks()}
    assert errors['array'] == ''
    assert "'true' (only a shell understands &&, as in sh -c" in errors['words']
    assert 'cannot use the value (hidden) (only a shell understands $, as in sh -c' in errors['dump']
    assert sv.health.runCheck('array', 'job')['reason'] == 'sh exited with status 3, expected 0'
