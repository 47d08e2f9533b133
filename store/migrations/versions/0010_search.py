"""Words of the log and of the directory, to be searched for.

`email_words` and `contact_words` are full-text indexes (FTS5). The first has no text of its own: what it finds stands
in `email`. Triggers keep both as the tables are, whoever changes them; a migration that makes `email` anew makes its
triggers anew, too. Whoever asks about one portal must neither see nor wait for what others have, so the portal is one
of the words: its number behind a character of private use, which words of people do not have.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.forwarded.rendering import html_text

revision = "0010"
down_revision = "0006"
branch_labels = None
depends_on = None

MAX_TEXT = 1024 * 1024  # characters

EMAIL = """
create view email_searched as select
  id, char(57344) || portal as portal, subject, "from" || ' ' || "to" || ' ' || cc as people, text, other_text
  from email;

create virtual table email_words using fts5(
  portal, subject, people, text, other_text,
  content = 'email_searched', content_rowid = 'id', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2');

insert into email_words (email_words) values ('rebuild');

create trigger email_words_enter after insert on email begin
  insert into email_words (rowid, portal, subject, people, text, other_text)
    select * from email_searched where id = new.id;
end;

create trigger email_words_leave after delete on email begin
  insert into email_words (email_words, rowid, portal, subject, people, text, other_text) values (
    'delete', old.id, char(57344) || old.portal, old.subject, old."from" || ' ' || old."to" || ' ' || old.cc,
    old.text, old.other_text);
end;

create trigger email_words_change after update of subject, "from", "to", cc, text, other_text on email begin
  insert into email_words (email_words, rowid, portal, subject, people, text, other_text) values (
    'delete', old.id, char(57344) || old.portal, old.subject, old."from" || ' ' || old."to" || ' ' || old.cc,
    old.text, old.other_text);
  insert into email_words (rowid, portal, subject, people, text, other_text)
    select * from email_searched where id = new.id;
end;
"""

CONTACT = """
create view contact_searched as select
  contact.id, char(57344) || contact.portal as portal, coalesce(name, '') as name,
  group_concat(written, ' ') as addresses
  from contact join contact_address on contact_address.contact = contact.id group by contact.id;

create virtual table contact_words using fts5(
  portal, name, addresses, columnsize = 0, prefix = '1 2 3 4 5', tokenize = 'unicode61 remove_diacritics 2');

insert into contact_words (rowid, portal, name, addresses) select * from contact_searched;

create trigger contact_words_name after update of name on contact begin
  delete from contact_words where rowid = new.id;
  insert into contact_words (rowid, portal, name, addresses) select * from contact_searched where id = new.id;
end;

create trigger contact_words_enter after insert on contact_address begin
  delete from contact_words where rowid = new.contact;
  insert into contact_words (rowid, portal, name, addresses) select * from contact_searched where id = new.contact;
end;

create trigger contact_words_leave after delete on contact_address begin
  delete from contact_words where rowid = old.contact;
  insert into contact_words (rowid, portal, name, addresses) select * from contact_searched where id = old.contact;
end;
"""


def upgrade() -> None:
    op.add_column("email", sa.Column("other_text", sa.Text(), nullable=False, server_default=""))
    _read_other_text()
    for statement in (EMAIL + CONTACT).split(";\n\n"):
        op.execute(statement)


def downgrade() -> None:
    for name in ("enter", "leave", "change"):
        op.execute(f"drop trigger email_words_{name}")
    for name in ("name", "enter", "leave"):
        op.execute(f"drop trigger contact_words_{name}")
    for table in ("email", "contact"):
        op.execute(f"drop table {table}_words")
        op.execute(f"drop view {table}_searched")
    op.drop_column("email", "other_text")


def _read_other_text() -> None:
    """Of records that are there: the text of HTML where it is alone, and the names of attachments."""
    connection = op.get_bind()
    names = sa.text("select group_concat(name, char(10)) from attachment where email = :id")
    change = sa.text("update email set other_text = :text where id = :id")
    some = sa.text(
        "select id, case when trim(text) = '' then html else '' end as html from email "
        "where id > :last and deleted_at is null order by id limit 100"
    )
    last = 0
    while rows := connection.execute(some, {"last": last}).all():
        for identifier, html in rows:
            parts = (html_text(html)[:MAX_TEXT], connection.scalar(names, {"id": identifier}))
            if text := "\n".join(each for each in parts if each):
                connection.execute(change, {"text": text, "id": identifier})
        last = rows[-1].id
