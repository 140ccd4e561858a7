"""Which method and path leads to which operation."""

from __future__ import annotations

from transport_trio.sandbox import analytics, hooks, incall, livestreams, operations, recordings, transcripts

OPERATIONS: tuple[tuple[str, str, operations.Operation], ...] = (
    ("GET", "/", operations.get_domain),
    ("POST", "/", operations.update_domain),
    ("GET", "/rooms", operations.list_rooms),
    ("POST", "/rooms", operations.create_room),
    ("GET", "/rooms/<name>", operations.get_room),
    ("POST", "/rooms/<name>", operations.update_room),
    ("DELETE", "/rooms/<name>", operations.delete_room),
    ("POST", "/batch/rooms", operations.batch_create_rooms),
    ("DELETE", "/batch/rooms", operations.batch_delete_rooms),
    ("GET", "/rooms/<name>/presence", operations.room_presence),
    ("GET", "/presence", operations.all_presence),
    ("POST", "/rooms/<name>/eject", operations.eject),
    ("POST", "/rooms/<name>/send-app-message", incall.send_app_message),
    ("POST", "/rooms/<name>/update-permissions", incall.update_permissions),
    ("POST", "/rooms/<name>/recordings/start", recordings.start_recording),
    ("POST", "/rooms/<name>/recordings/update", recordings.update_recording),
    ("POST", "/rooms/<name>/recordings/stop", recordings.stop_recording),
    ("GET", "/recordings", recordings.list_recordings),
    ("GET", "/recordings/<id>", recordings.get_recording),
    ("DELETE", "/recordings/<id>", recordings.delete_recording),
    ("GET", "/recordings/<id>/access-link", recordings.get_recording_link),
    ("POST", "/rooms/<name>/transcription/start", transcripts.start_transcription),
    ("POST", "/rooms/<name>/transcription/update", transcripts.update_transcription),
    ("POST", "/rooms/<name>/transcription/stop", transcripts.stop_transcription),
    ("GET", "/transcript", transcripts.list_transcripts),
    ("GET", "/transcript/<id>", transcripts.get_transcript),
    ("DELETE", "/transcript/<id>", transcripts.delete_transcript),
    ("GET", "/transcript/<id>/access-link", transcripts.get_transcript_link),
    ("POST", "/rooms/<name>/live-streaming/start", livestreams.start_live_stream),
    ("POST", "/rooms/<name>/live-streaming/update", livestreams.update_live_stream),
    ("POST", "/rooms/<name>/live-streaming/stop", livestreams.stop_live_stream),
    ("POST", "/meeting-tokens", operations.create_meeting_token),
    ("GET", "/meeting-tokens/<token>", operations.get_meeting_token),
    ("GET", "/meetings", analytics.list_meetings),
    ("GET", "/meetings/<id>", analytics.get_meeting),
    ("GET", "/meetings/<id>/participants", analytics.list_meeting_participants),
    ("GET", "/webhooks", hooks.list_webhooks),
    ("POST", "/webhooks", hooks.create_webhook),
    ("GET", "/webhooks/<uuid>", hooks.get_webhook),
    ("POST", "/webhooks/<uuid>", hooks.update_webhook),
    ("DELETE", "/webhooks/<uuid>", hooks.delete_webhook),
)

# What Daily has besides; a 404 would look as if it had not.
NOT_SIMULATED: tuple[tuple[str, str], ...] = (
    ("POST", "/rooms/<name>/set-session-data"),
    ("GET", "/rooms/<name>/get-session-data"),
    *(("POST", f"/rooms/<name>/dialOut/{action}") for action in ("start", "stop", "sendDTMF")),
    *(("POST", f"/rooms/<name>/{action}") for action in ("sipCallTransfer", "sipRefer")),
    *(("GET", path) for path in ("/logs", "/batch-processor", "/batch-processor/<id>/access-link")),
    ("GET", "/logs/api"),
    ("POST", "/batch-processor"),
    *((method, "/batch-processor/<id>") for method in ("GET", "DELETE")),
)
