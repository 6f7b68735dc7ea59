namespace Bert4Rec.Data;

/// <summary>Tokens and their internal ids. Id 0 is padding, "[PAD]"; the others follow in order of first appearance.</summary>
internal sealed class Vocabulary
{
    public const string Padding = "[PAD]";

    private readonly List<string> _tokens = [Padding];
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _lookup;

    public Vocabulary()
    {
        _lookup = _ids.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>Number of ids, padding included.</summary>
    public int Count => _tokens.Count;

    /// <summary>The token of an id.</summary>
    public string this[int id] => _tokens[id];

    /// <summary>The id of a token, given a new one if it is not there yet.</summary>
    public int GetOrAdd(ReadOnlySpan<char> token)
    {
        if (_lookup.TryGetValue(token, out int id))
            return id;
        id = _tokens.Count;
        string text = token.ToString();
        _tokens.Add(text);
        _ids.Add(text, id);
        return id;
    }

    public bool TryGetId(ReadOnlySpan<char> token, out int id) => _lookup.TryGetValue(token, out id);
}
