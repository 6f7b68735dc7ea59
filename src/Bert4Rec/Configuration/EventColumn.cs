namespace Bert4Rec.Configuration;

/// <summary>The columns of a shop's event log, in the order of the raw file.</summary>
internal enum EventColumn
{
    /// <summary>"2019-10-01 00:00:00 UTC".</summary>
    EventTime,

    /// <summary>view, remove_from_cart, cart or purchase.</summary>
    EventType,
    ProductId,
    CategoryId,

    /// <summary>"electronics.smartphone"; often empty.</summary>
    CategoryCode,
    Brand,
    Price,
    UserId,
    UserSession,
}

/// <summary>The columns' names in the files.</summary>
internal static class EventColumns
{
    private static readonly string[] _names =
        ["event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id", "user_session"];

    public const int Count = 9;

    /// <summary>All of them, in the order of <see cref="EventColumn"/>.</summary>
    public static IReadOnlyList<string> Names => _names;

    /// <summary>Columns that every row needs, whatever <see cref="CleanOptions.KeepNulls"/> says: without them it is no event.</summary>
    public static IReadOnlyList<EventColumn> Required { get; } =
        [EventColumn.EventTime, EventColumn.EventType, EventColumn.ProductId, EventColumn.UserId];

    /// <summary>The other columns: those that may be kept empty.</summary>
    public static IReadOnlyList<EventColumn> Optional { get; } =
        [.. Enum.GetValues<EventColumn>().Where(column => !Required.Contains(column))];

    public static string Name(this EventColumn column) => _names[(int)column];

    public static bool TryParse(string name, out EventColumn column)
    {
        int index = Array.IndexOf(_names, name);
        column = (EventColumn)index;
        return index >= 0;
    }
}

/// <summary>What a customer did. A cleaned file has the numbers of <see cref="EventTypeNames.Code"/>.</summary>
[Flags]
internal enum EventTypes
{
    None = 0,
    View = 1,
    RemoveFromCart = 2,
    Cart = 4,
    Purchase = 8,
    All = View | RemoveFromCart | Cart | Purchase,
}

/// <summary>The event types' names and numbers in the files.</summary>
internal static class EventTypeNames
{
    /// <summary>In the order of their bits in <see cref="EventTypes"/>.</summary>
    public static IReadOnlyList<string> Names { get; } = ["view", "remove_from_cart", "cart", "purchase"];

    /// <summary>
    /// The number of one type in a cleaned file, as one ASCII digit: the more it says of the customer's interest, the larger.
    /// </summary>
    public static byte Code(this EventTypes type) => type switch
    {
        EventTypes.View => (byte)'1',
        EventTypes.RemoveFromCart => (byte)'2',
        EventTypes.Cart => (byte)'3',
        EventTypes.Purchase => (byte)'5',
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "one event type has a number"),
    };

    /// <summary>"all", or names with commas between them.</summary>
    public static bool TryParse(string list, out EventTypes types)
    {
        types = EventTypes.None;
        foreach (string name in list.Split(','))
        {
            int index = Names.ToList().IndexOf(name);
            if (index < 0 && name != "all")
                return false;
            types |= index < 0 ? EventTypes.All : (EventTypes)(1 << index);
        }
        return true;
    }

    /// <summary>As <see cref="TryParse(string, out EventTypes)"/> reads it.</summary>
    public static string List(EventTypes types) =>
        string.Join(',', Names.Where((_, index) => types.HasFlag((EventTypes)(1 << index))));

    internal static bool TryParse(ReadOnlySpan<byte> name, out EventTypes type)
    {
        type = name.SequenceEqual("view"u8) ? EventTypes.View
            : name.SequenceEqual("cart"u8) ? EventTypes.Cart
            : name.SequenceEqual("purchase"u8) ? EventTypes.Purchase
            : name.SequenceEqual("remove_from_cart"u8) ? EventTypes.RemoveFromCart
            : EventTypes.None;
        return type != EventTypes.None;
    }
}
