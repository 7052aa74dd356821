"""Nothing is written while the service's guard says so, and the sending goes on by itself once it does not."""


def test_nothing_is_written_while_it_is_withheld(field):
    field.warn(30, card={"window": 5})

    async def scene(stage):
        await stage.answer(0)
        stage.account._may_write = lambda: False
        await stage.answer_everything()
        written = len(field.link.log)
        assert 0 < written < 30
        for _ in range(30):
            await stage.wait_s(0.1)
        assert len(field.link.log) == written
        stage.account._may_write = lambda: True
        await stage.wait_s(1.1)
        await stage.answer_everything()
        assert stage.sender.backlog == 0

    field.play(scene)
    assert len(field.link.log) == 30
