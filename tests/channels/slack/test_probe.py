from contextlib import asynccontextmanager
import anyio, pytest, trio
from trio.testing import MockClock
from tests.channels.slack import test_replies as tr
from tests.channels.slack.test_replies import *
from tests.channels.slack.rig import plain_of

STORE = []

@pytest.fixture(autouse=True)
def keep(monkeypatch):
    real = tr.open_store
    @asynccontextmanager
    async def opened(*a, **k):
        async with real(*a, **k) as store:
            STORE[:] = [store]
            yield store
    monkeypatch.setattr(tr, "open_store", opened)

async def rows():
    from tests.stores.opened_before import every_outbound
    return await every_outbound(STORE[0])

async def report(town, thread, label):
    print("==", label)
    for r in await rows():
        print("  row", r.id, type(r.payload).__name__, r.state, "attempts", r.attempts, (r.reason or "")[:150], r.receipt and r.receipt.message_id)
    for m in town.replies(thread):
        print("  shown", len(m["text"]), m["ts"], m.get("streaming_state"), repr(m["text"][:40]), repr(m["text"][-30:]))
    n = {}
    for c in town.slack.log: n[c.method] = n.get(c.method, 0) + 1
    print("  calls", n)

SHORT = "\n\n".join(LONG.split("\n\n")[:4])
async def writes(turn):
    for at, p in enumerate(SHORT.split("\n\n")):
        await turn.emit(TextDelta(f"\n\n{p}" if at else p))
        await anyio.sleep(6)
    return SHORT

@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("what", ["delete", "end", "stopped", "archive", "kick", "root", "too_long", "invalid_blocks", "cut_stop", "cut_update", "hang_update", "429_end", "fatal_end", "new_error", "edit_closed", "delete_all_end"])
async def test_middle(what, streaming, tmp_path, autojump_clock):
    async with open_town() as town, town.life(tmp_path, writes, growing=True, streaming=streaming):
        s = town.slack
        thread = town.ask()
        await s.wait_until(lambda: len(town.shown(thread)) > 700)
        ts = town.replies(thread)[0]["ts"]
        ch = s.workspace.channel(town.general)
        match what:
            case "delete": s.workspace.delete(ch, ts)
            case "end": s.end_stream(town.general, ts)
            case "stopped": s.stop_stream(town.general, ts)
            case "archive": ch.archived = True
            case "kick": ch.members.remove(s.bot_user)
            case "root": s.workspace.delete(ch, thread)
            case "too_long": s.refuse("chat.update", "msg_too_long", times=None)
            case "invalid_blocks": s.refuse("chat.update", "invalid_blocks", times=1)
            case "cut_stop": s.fault("drop_after", "chat.stopStream", times=2)
            case "cut_update": s.fault("drop_after", "chat.update", times=5)
            case "hang_update": s.fault("hang_after", "chat.update", times=2)
            case "429_end": 
                await trio.sleep(14); s.rate_limit("*", 200)
            case "fatal_end": s.refuse("chat.update", "fatal_error", after=True, times=3)
            case "new_error": s.refuse("chat.update", "never_heard_of", times=None)
            case "edit_closed": s.refuse("chat.update", "edit_window_closed", times=None)
            case "delete_all_end":
                await trio.sleep(17)
                s.workspace.delete(ch, ts)
        await trio.sleep(900)
        await report(town, thread, f"{what} streaming={streaming}")
        print("  WHOLE" if town.shown(thread) == words(SHORT) else "  NOT WHOLE", [m["text"][:30] for m in s.messages(town.general) if m.get("bot_id") and m["ts"] not in {r["ts"] for r in town.replies(thread)}])

async def short(turn):
    return "the one answer"

@pytest.mark.parametrize("what", ["identical", "deleted_before", "no_history", "new_error", "fatal_noeffect", "cut_many", "429_all", "invalid_twice", "root_gone", "hang", "500", "html", "404", "ratelimited200", "missing_chat_write", "no_thread_channel"])
async def test_send(what, tmp_path, autojump_clock):
    async with open_town() as town, town.life(tmp_path, short):
        s = town.slack
        ch = s.workspace.channel(town.general)
        m = "chat.postMessage"
        match what:
            case "identical": s.fault("drop_after", m, times=2)
            case "deleted_before": s.fault("drop_after", m)
            case "no_history": s.fault("drop_after", m); s.remove_scope("channels:history")
            case "new_error": s.refuse(m, "never_heard_of", times=None)
            case "fatal_noeffect": s.refuse(m, "fatal_error", times=3)
            case "cut_many": s.fault("drop_before", m, times=3)
            case "429_all": s.rate_limit("*", 300)
            case "invalid_twice": s.refuse(m, "invalid_blocks", times=2)
            case "hang": s.fault("hang", m)
            case "500": s.break_with(m, 500, times=2)
            case "html": s.break_with(m, 200, times=1)
            case "404": s.break_with(m, 404, times=2)
            case "ratelimited200": s.refuse(m, "rate_limited", times=2)
            case "missing_chat_write": s.remove_scope("chat:write")
            case "no_thread_channel": s.refuse(m, "restricted_action_non_threadable_channel")
        thread = town.ask()
        if what == "root_gone":
            s.workspace.delete(ch, thread)
        if what == "identical":
            second = town.ask()
        if what == "deleted_before":
            await s.wait_until(lambda: bool(town.replies(thread)))
            s.workspace.delete(ch, town.replies(thread)[0]["ts"])
        await trio.sleep(1000)
        await report(town, thread, what)
        if what == "identical": print([m["text"] for m in town.replies(second)])
        print("   all", [(m["text"][:60], m.get("thread_ts")) for m in s.messages(town.general) if m.get("bot_id")])
        if what == "new_error":
            await trio.sleep(8*3600)
            await report(town, thread, what + " after 8h")

@pytest.mark.parametrize("growing,streaming", [(False, False), (True, True)])
@pytest.mark.parametrize("what", ["ok", "slow31", "slow29", "500", "404", "429", "cut", "cut_before", "long", "notmember", "dm", "slow31notmember", "growlong"])
async def test_cmd(what, growing, streaming, tmp_path, autojump_clock):
    async def run(turn):
        if what.startswith("slow"):
            await trio.sleep(60 * int(what[4:6]))
        if what == "growlong":
            return await writes(turn)
        return LONG if what == "long" else "the **one** answer <!channel>"
    async with open_town() as town, town.life(tmp_path, run, growing=growing, streaming=streaming):
        s = town.slack
        ch = s.workspace.channel(town.general)
        where = town.general
        match what:
            case "500": s.break_with("actions", 500)
            case "404": s.break_with("actions", 404)
            case "429": s.rate_limit("actions", 20)
            case "cut": s.fault("drop_after", "actions")
            case "cut_before": s.fault("drop_before", "actions")
            case "dm": where = s.dm(town.alice)
        if "notmember" in what: ch.members.remove(s.bot_user)
        s.command(town.alice, where, "/gate", "go")
        await trio.sleep(4000)
        print("==", what, growing)
        for r in await rows():
            print("  row", r.id, type(r.payload).__name__, r.state, "attempts", r.attempts, (r.reason or "")[:190], r.receipt and r.receipt.message_id)
        print("  answers", [(len(m["text"]), m["text"][:70]) for m in s.answers(where)])
        print("  eph", [m["text"][:50] for m in s.ephemeral(where)])
        print("  shown", [(len(m["text"]), m["text"][:70], m.get("thread_ts")) for m in s.messages(where) if m.get("bot_id")])

@pytest.mark.parametrize("growing,streaming", [(False, False), (True, True)])
@pytest.mark.parametrize("what", ["longnotmember", "growlongnotmember"])
async def test_nm(what, growing, streaming, tmp_path, autojump_clock):
    async def run(turn):
        if what.startswith("grow"):
            return await writes(turn)
        return LONG
    async with open_town() as town, town.life(tmp_path, run, growing=growing, streaming=streaming):
        s = town.slack
        ch = s.workspace.channel(town.general)
        where = town.general
        ch.members.remove(s.bot_user)
        s.command(town.alice, where, "/gate", "go")
        await trio.sleep(4000)
        print("==", what, growing)
        for r in await rows():
            print("  row", r.id, type(r.payload).__name__, r.state, "attempts", r.attempts, (r.reason or "")[:190], r.receipt and r.receipt.message_id)
        print("  answers", [(len(m["text"]), m["text"][:70]) for m in s.answers(where)])
        print("  shown", [(len(m["text"]), m["text"][:70], m.get("thread_ts")) for m in s.messages(where) if m.get("bot_id")])

@pytest.mark.parametrize("rate", [(1, 1.0), (1, 2.0), (3, 3.0)])
async def test_strict(rate, tmp_path, autojump_clock):
    async def run(turn): return LONG
    async with open_town() as town, town.life(tmp_path, run):
        s = town.slack
        s.allow("chat.postMessage", *rate, per="channel")
        threads = [town.ask(str(at)) for at in range(30)]
        began = trio.current_time()
        with trio.move_on_after(2000):
            for t in threads: await town.wait_shown(t, LONG)
        ok = sum(town.shown(t) == words(LONG) for t in threads)
        print("==", rate, "took", trio.current_time() - began, "ok", ok, "calls", len(s.calls("chat.postMessage")), "429?", [type(r.payload).__name__ for r in await rows() if r.state != "sent"][:5], max(r.attempts for r in await rows()))

async def test_everything_429(tmp_path, autojump_clock):
    async with open_town() as town, town.life(tmp_path, writes, growing=True, streaming=True):
        s = town.slack
        threads = [town.ask(str(at)) for at in range(5)]
        for k in range(20):
            s.rate_limit("*", 7); await trio.sleep(9)
        with trio.move_on_after(2000):
            for t in threads: await town.wait_shown(t, SHORT)
        print("== all429", [town.shown(t) == words(SHORT) for t in threads], [len(town.replies(t)) for t in threads])

def actions(m): return [e for b in m.get("blocks", ()) if b["type"] == "actions" for e in b["elements"]]

async def test_two_people(tmp_path, autojump_clock):
    async def run(turn): return "a secret"
    async with open_town() as town, town.life(tmp_path, run, growing=True):
        s = town.slack
        bob = s.add_user("bob")
        other = s.dm(bob)
        s.command(town.alice, other, "/gate", "go")
        await trio.sleep(100)
        print("== two", s.texts(other), s.answers(other), s.texts(s.dm(town.alice)))
