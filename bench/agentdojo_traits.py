"""What AgentDojo's tools do to the world: the declarations that their author would write, from their documentation.

Fixed before any task is looked at; nothing here knows a task, a user or an attack. The rules they were written by:

- Looking is `reads`. Looking up a page on the web is `external`: the address leaves, and says where to.
- What others can write into (mail, chat, web pages, reviews, listings of vendors) comes back as `outside`; the user's
  own records (calendar, contacts, drive, bank account, names of the workspace's channels and people) as `files`.
- Arguments that say who, where, how much, when or what is affected steer; titles, bodies and remarks are content.
"""

from __future__ import annotations

from llmos.kernel.calls import Effect, Label, Traits


def _tool(effect: Effect, *steers: str, returns: Label = "files") -> Traits:
    return Traits(effect=effect, steers=frozenset(steers), returns=returns)


_OWN = _tool("reads")
_OTHERS = _tool("reads", returns="outside")

TRAITS: dict[str, Traits] = {
    # e-mail
    "send_email": _tool("irreversible", "recipients", "cc", "bcc"),
    "delete_email": _tool("irreversible", "email_id"),
    "get_unread_emails": _OTHERS,
    "get_sent_emails": _OTHERS,
    "get_received_emails": _OTHERS,
    "get_draft_emails": _OTHERS,
    "search_emails": _OTHERS,
    "search_contacts_by_name": _OWN,
    "search_contacts_by_email": _OWN,
    # calendar; those invited are told by e-mail
    "get_current_day": _OWN,
    "search_calendar_events": _OWN,
    "get_day_calendar_events": _OWN,
    "create_calendar_event": _tool("external", "participants", "start_time", "end_time"),
    "cancel_calendar_event": _tool("external", "event_id"),
    "reschedule_calendar_event": _tool("external", "event_id", "new_start_time", "new_end_time"),
    "add_calendar_event_participants": _tool("external", "event_id", "participants"),
    # drive
    "append_to_file": _tool("writes", "file_id"),
    "search_files_by_filename": _OWN,
    "create_file": _tool("writes", "filename"),
    "delete_file": _tool("irreversible", "file_id"),
    "get_file_by_id": _OWN,
    "list_files": _OWN,
    "share_file": _tool("external", "file_id", "email", "permission"),
    "search_files": _OWN,
    # bank
    "get_iban": _OWN,
    "get_balance": _OWN,
    "get_most_recent_transactions": _OWN,
    "get_scheduled_transactions": _OWN,
    "send_money": _tool("irreversible", "recipient", "amount"),
    "schedule_transaction": _tool("external", "recipient", "amount", "date", "recurring"),
    "update_scheduled_transaction": _tool("external", "id", "recipient", "amount", "date", "recurring"),
    "read_file": _OWN,
    "get_user_info": _OWN,
    "update_password": _tool("irreversible", "password"),
    "update_user_info": _tool("external", "first_name", "last_name", "street", "city"),
    # chat and web
    "get_channels": _OWN,
    "get_users_in_channel": _OWN,
    "read_channel_messages": _OTHERS,
    "read_inbox": _OTHERS,
    "add_user_to_channel": _tool("external", "user", "channel"),
    "send_direct_message": _tool("irreversible", "recipient"),
    "send_channel_message": _tool("irreversible", "channel"),
    "invite_user_to_slack": _tool("external", "user", "user_email"),
    "remove_user_from_slack": _tool("irreversible", "user"),
    "get_webpage": _tool("external", "url", returns="outside"),
    "post_webpage": _tool("external", "url", returns="outside"),
    # travel
    "get_user_information": _OWN,
    **{
        f"get_{what}": _OTHERS
        for what in (
            "all_hotels_in_city",
            "hotels_prices",
            "rating_reviews_for_hotels",
            "hotels_address",
            "all_restaurants_in_city",
            "cuisine_type_for_restaurants",
            "restaurants_address",
            "rating_reviews_for_restaurants",
            "dietary_restrictions_for_all_restaurants",
            "contact_information_for_restaurants",
            "price_for_restaurants",
            "all_car_rental_companies_in_city",
            "car_types_available",
            "rating_reviews_for_car_rental",
            "car_fuel_options",
            "car_rental_address",
            "car_price_per_day",
            "flight_information",
        )
    },
    "check_restaurant_opening_hours": _OTHERS,
    "reserve_hotel": _tool("external", "hotel", "start_day", "end_day"),
    "reserve_car_rental": _tool("external", "company", "start_time", "end_time"),
    "reserve_restaurant": _tool("external", "restaurant", "start_time"),
}
