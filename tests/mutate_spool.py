"""The guards of the spool, for tests/mutate.py: name, module, text as it stands, text without."""

from __future__ import annotations

MUTATIONS = [
    (
        'kept-is-flushed', 'cli/spool',
        '                os.fsync(file)\n',
        '',
    ),
    (
        'name-is-flushed', 'cli/spool',
        '        os.fsync(target)\n',
        '',
    ),
    (
        'not-kept-is-gone', 'cli/spool',
        '                for each, place in ((new, TMP), (name, QUEUE)):',
        '                for each, place in ():',
    ),
    (
        'one-owner', 'cli/spool',
        'if spool_files.lock(file) and spool_files.is_named(',
        'if spool_files.is_named(',
    ),
    (
        'owner-of-what-is-there', 'cli/spool_files',
        '    return (info.st_dev, info.st_ino) == (own.st_dev, own.st_ino)',
        '    return True',
    ),
    (
        'locks-work', 'cli/spool',
        '                spool_files.lock(file, wait=True)\n',
        '',
    ),
    (
        'fresh-in-tmp', 'cli/spool',
        'if old and spool_files.lock(file):',
        'if spool_files.lock(file):',
    ),
    (
        'others-cannot-write', 'cli/spool_files',
        '        if info.st_mode & 0o022:',
        '        if False:',
    ),
    (
        'folder-is-ours', 'cli/spool_files',
        '        if info.st_uid != os.geteuid():',
        '        if False:',
    ),
    (
        'folder-is-no-link', 'cli/spool_files',
        'os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW',
        'os.O_RDONLY | os.O_DIRECTORY',
    ),
    (
        'file-is-no-link', 'cli/spool_files',
        'flags | os.O_NOFOLLOW | os.O_NONBLOCK',
        'flags | os.O_NONBLOCK',
    ),
    (
        'file-is-ours', 'cli/spool_files',
        'if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():',
        'if not stat.S_ISREG(info.st_mode):',
    ),
    (
        'file-is-a-file', 'cli/spool_files',
        'if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():',
        'if info.st_uid != os.geteuid():',
    ),
    (
        'folders-for-us-alone', 'cli/spool_files',
        '        os.mkdir(path, 0o700)',
        '        os.mkdir(path, 0o755)',
    ),
    (
        'files-for-us-alone', 'cli/spool',
        'os.open(new, flags, 0o600,',
        'os.open(new, flags, 0o644,',
    ),
    (
        'note-is-flushed', 'cli/entry',
        '            os.fsync(self._file)\n',
        '',
    ),
    (
        'brief-note', 'cli/entry',
        '            if spare is not None:',
        '            if False:',
    ),
    (
        'half-a-note-is-cut-off', 'cli/entry',
        '                os.ftruncate(self._file, self._end)',
        '                pass',
    ),
    (
        'whole-message', 'cli/entry',
        '    if size < start:',
        '    if False:',
    ),
    (
        'begin-is-noted', 'cli/attempt',
        '    entry.note(progress.begin(spool.clock()), room=sum(room.values()))\n',
        '',
    ),
    (
        'room-is-reserved', 'cli/attempt',
        ', room=sum(room.values()))',
        ')',
    ),
    (
        'room-of-the-others', 'cli/attempt',
        'entry.note(whole, room=room, spare=brief)',
        'entry.note(whole, spare=brief)',
    ),
    (
        'report-in-any-case', 'cli/attempt',
        '        except (MessageError, UnicodeError):  #',
        '        except ZeroDivisionError:  #',
    ),
    (
        'bug-in-a-report-stops-nobody', 'cli/attempt',
        '    except Exception as error:  # a bug of ours must not keep',
        '    except ZeroDivisionError as error:  # a bug of ours must not keep',
    ),
    (
        'trouble-is-said', 'cli/attempt',
        '        return str(error)\n',
        '        pass\n',
    ),
    (
        'only-those-who-wait', 'cli/attempt',
        'replace(job, recipients=tried)',
        'job',
    ),
    (
        'domain-by-domain', 'cli/attempt',
        '    if job.account:\n',
        '    if True:\n',
    ),
    (
        'one-report', 'cli/attempt',
        'None if spool.has(name) else _compose(entry)',
        '_compose(entry)',
    ),
    (
        'report-as-strict', 'cli/attempt',
        '        require_tls=head.require_tls,\n        tls_optional=False,',
        '        require_tls=False,\n        tls_optional=False,',
    ),
    (
        'report-is-wanted', 'cli/attempt',
        ' or not head.report:',
        ':',
    ),
    (
        'reported-is-noted', 'cli/attempt',
        '        entry.note(progress.reported(spool.clock()))',
        '        pass',
    ),
    (
        'head-has-a-digest', 'cli/record',
        '    if digest != _digest(body):\n        return None\n',
        '',
    ),
    (
        'message-has-a-digest', 'cli/record',
        ' or hashlib.sha256(message).hexdigest() != self.sha256:',
        ':',
    ),
    (
        'known-format', 'cli/record',
        '    if data.get("spool") != FORMAT:',
        '    if False:',
    ),
    (
        'proper-head', 'cli/record',
        '        if not isinstance(data.get(name), kind):',
        '        if False:',
    ),
    (
        'not-both-wishes', 'cli/record',
        '    if data["require_tls"] and data["tls_optional"]:',
        '    if False:',
    ),
    (
        'damaged-note', 'cli/record',
        '        if unseal(found[1]) is not None:',
        '        if False:',
    ),
    (
        'cut-off-may-have-arrived', 'cli/progress',
        '        duplicate = each.duplicate or each.begun  #',
        '        duplicate = each.duplicate  #',
    ),
    (
        'lost-end-may-have-arrived', 'cli/progress',
        '            duplicate=old.duplicate or result.state == "unknown",',
        '            duplicate=old.duplicate,',
    ),
    (
        'refused-is-final', 'cli/progress',
        '    return over or (result.state == "refused" and not result.temporary)',
        '    return over',
    ),
    (
        'temporary-is-not-final', 'cli/progress',
        '    return over or (result.state == "refused" and not result.temporary)',
        '    return over or result.state == "refused"',
    ),
    (
        'given-up-in-the-end', 'cli/progress',
        '    return over or (result.state == "refused" and not result.temporary)',
        '    return result.state == "refused" and not result.temporary',
    ),
    (
        'unknown-notes', 'cli/progress',
        '        except (KeyError, TypeError, ValueError, AttributeError):\n            raise',
        '        except (KeyError, TypeError, ValueError, AttributeError):\n            continue\n            raise',
    ),
    (
        'jump-of-the-clock', 'cli/schedule',
        'min(max(later - earlier, 0.0), DAY)',
        'max(later - earlier, 0.0)',
    ),
    (
        'clock-that-runs-back', 'cli/schedule',
        'min(max(later - earlier, 0.0), DAY)',
        'min(later - earlier, DAY)',
    ),
    (
        'attempt-of-the-future', 'cli/schedule',
        ' or now < attempts[-1]',
        '',
    ),
    (
        'due', 'cli/flush',
        'if entry.progress.waiting and (due or everything) else resume',
        'if entry.progress.waiting else resume',
    ),
    (
        'cut-off-behind-the-end', 'cli/flush',
        'if entry.progress.waiting and (due or everything) else resume',
        'if due or everything else resume',
    ),
    (
        'password-once-a-run', 'cli/flush',
        'if work is attempt and self._is_suspended(entry):',
        'if False:',
    ),
    (
        'nothing-given-up-untried', 'cli/flush',
        'if entry.progress.is_over(self._times, self._spool.clock()):',
        'if False:',
    ),
    (
        'requirement-has-its-own-way', 'cli/destinations',
        'domain, head.require_tls, head.tls_optional,',
        'domain, head.tls_optional,',
    ),
    (
        'suspended-only-without-a-session', 'cli/destinations',
        'in {("connect", _NO_ANSWER), ("server", _NO_ANSWER), ("login", _PASSWORD_REFUSED)}',
        '!= ()',
    ),
    (
        'damage-stops-nobody', 'cli/flush',
        '        except (DamagedError, SpoolError) as error:',
        '        except SpoolError as error:',
    ),
    (
        'foreign-text', 'cli/queue_text',
        '    return syntax.printable(str(text), _LONGEST)',
        '    return str(text)',
    ),
    (
        'foreign-message', 'cli/queue',
        '        print(syntax.printable(line, len(line) * 10))',
        '        print(line.decode("utf-8", "replace"))',
    ),
    (
        'retry-is-in-the-queue', 'cli/queue',
        '        entry.move(QUEUE)\n',
        '',
    ),
]  # fmt: skip

SUITES = [
    "test_cli_schedule", "test_cli_record", "test_cli_spool", "test_cli_queue",
    "test_spool_killed",
]  # fmt: skip
MODULES = {module for _, module, _, _ in MUTATIONS}
