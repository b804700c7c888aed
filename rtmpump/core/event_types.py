"""The event types that are known in advance, so that consumers can bind before the first event.

Slack's types are those of its published RTM reference, as collected in the MIT-licensed
repositories slack-ruby/slack-api-ref and slackhq/slack-api-docs, and those that an app with our
manifest gets beside them. Real workspaces send others too: the set is open, and nothing may depend
on a type being here.
"""

from __future__ import annotations

from typing import Final

_REFERENCE: Final = (
    "accounts_changed",
    "bot_added",
    "bot_changed",
    "channel_archive",
    "channel_created",
    "channel_deleted",
    "channel_history_changed",
    "channel_joined",
    "channel_left",
    "channel_marked",
    "channel_posting_permissions",
    "channel_rename",
    "channel_unarchive",
    "commands_changed",
    "dnd_updated",
    "dnd_updated_user",
    "email_domain_changed",
    "emoji_changed",
    "external_org_migration_finished",
    "external_org_migration_started",
    "file_change",
    "file_comment_added",
    "file_comment_deleted",
    "file_comment_edited",
    "file_created",
    "file_deleted",
    "file_private",
    "file_public",
    "file_shared",
    "file_unshared",
    "goodbye",
    "group_archive",
    "group_close",
    "group_deleted",
    "group_history_changed",
    "group_joined",
    "group_left",
    "group_marked",
    "group_open",
    "group_rename",
    "group_unarchive",
    "hello",
    "im_close",
    "im_created",
    "im_history_changed",
    "im_marked",
    "im_open",
    "manual_presence_change",
    "member_joined_channel",
    "member_left_channel",
    "message",
    "mpim_close",
    "mpim_history_changed",
    "mpim_joined",
    "mpim_open",
    "pin_added",
    "pin_removed",
    "pref_change",
    "presence_change",
    "reaction_added",
    "reaction_removed",
    "reconnect_url",
    "shared_channel_invite_received",
    "star_added",
    "star_removed",
    "subteam_created",
    "subteam_members_changed",
    "subteam_self_added",
    "subteam_self_removed",
    "subteam_updated",
    "team_domain_change",
    "team_join",
    "team_migration_started",
    "team_plan_change",
    "team_pref_change",
    "team_profile_change",
    "team_profile_delete",
    "team_profile_reorder",
    "team_rename",
    "user_change",
    "user_connection",
    "user_huddle_changed",
    "user_profile_changed",
    "user_status_changed",
    "user_typing",
)

OF_APPS: Final = (
    "app_home_opened",
    "app_mention",
    "app_uninstalled",
    "interactive",
    "link_shared",
    "slash_command",
    "tokens_revoked",
)
"""What only apps in Socket Mode get."""

# "error" is a frame of the protocol: Slack's text describes it, its list of events does not.
TYPES: Final[tuple[str, ...]] = (*_REFERENCE, *OF_APPS, "error", "rtmpump")
"""Slack's documented types, "error", and "rtmpump" for the pump's own events; no repeats."""
