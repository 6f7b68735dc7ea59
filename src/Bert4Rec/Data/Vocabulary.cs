using System.Buffers;
using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Unicode = System.Text.Unicode.Utf8;

namespace Bert4Rec.Data;

/// <summary>
/// Tokens and their internal ids. Id 0 is padding, "[PAD]"; the others follow in order of first appearance. A token takes its bytes and
/// some forty more: millions of them are one array of text, one of ends and one hash table, which has short ones in itself.
/// </summary>
internal sealed class Vocabulary
{
    public const string Padding = "[PAD]";

    /// <summary>Of the tokens whose UTF-8 fits, none needs the heap to be looked up.</summary>
    private const int ShortToken = 256;

    /// <summary>UTF-8 of one token after the other; token id ends before _ends[id].</summary>
    private byte[] _text = new byte[64];
    private int[] _ends = new int[16];

    /// <summary>Open addressing. Padding is not in it.</summary>
    private Entry[] _table = new Entry[16];

    public Vocabulary()
    {
        Encoding.UTF8.GetBytes(Padding, _text);
        _ends[0] = Padding.Length;
    }

    /// <summary>Those that were written down: see <see cref="Text"/> and <see cref="Ends"/>.</summary>
    /// <exception cref="ArgumentException">They are no vocabulary.</exception>
    public Vocabulary(byte[] text, int[] ends)
        : this()
    {
        Grow(ref _text, text.Length);
        Grow(ref _ends, ends.Length);
        bool isOne = ends.Length > 0 && ends[^1] == text.Length && text.AsSpan().StartsWith(Utf8(0)) && ends[0] == Padding.Length
            && Unicode.IsValid(text);
        for (int id = 1; isOne && id < ends.Length; id++)
            isOne = ends[id] >= ends[id - 1] && ends[id] <= text.Length && GetOrAdd(text.AsSpan(ends[id - 1]..ends[id])) == id;
        if (!isOne)
            throw new ArgumentException("a token stands in it twice, or its ends are none", nameof(text));
    }

    /// <summary>Number of ids, padding included.</summary>
    public int Count { get; private set; } = 1;

    /// <summary>UTF-8 of all tokens by id, one after the other.</summary>
    public ReadOnlyMemory<byte> Text => _text.AsMemory(0, _ends[Count - 1]);

    /// <summary>[Count] Where each ends in <see cref="Text"/>.</summary>
    public ReadOnlyMemory<int> Ends => _ends.AsMemory(0, Count);

    /// <summary>The token of an id.</summary>
    public string this[int id] => Encoding.UTF8.GetString(Utf8(id));

    /// <summary>The token of an id, valid until the next is added.</summary>
    public ReadOnlySpan<byte> Utf8(int id)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, Count);
        int start = id == 0 ? 0 : _ends[id - 1];
        return _text.AsSpan(start, _ends[id] - start);
    }

    /// <summary>What <see cref="GetOrAdd(ReadOnlySpan{byte}, uint)"/> finds a token by.</summary>
    public static uint Hash(ReadOnlySpan<byte> token) => (uint)XxHash3.HashToUInt64(token);

    /// <summary>The id of a token, given a new one if it is not there yet.</summary>
    /// <param name="token">UTF-8.</param>
    /// <exception cref="InputException">All tokens together are longer than an array can be.</exception>
    public int GetOrAdd(ReadOnlySpan<byte> token) => GetOrAdd(token, Hash(token));

    /// <param name="token">UTF-8.</param>
    /// <param name="hash">Its <see cref="Hash"/>.</param>
    /// <inheritdoc cref="GetOrAdd(ReadOnlySpan{byte})"/>
    public int GetOrAdd(ReadOnlySpan<byte> token, uint hash)
    {
        var key = Key.Of(token, hash);
        int place = Find(token, hash, key, out int id);
        if (id > 0)
            return id;
        id = Count;
        int start = _ends[id - 1];
        if (start + (long)token.Length > Array.MaxLength || id == Array.MaxLength)
            throw new InputException($"{id} different ids together are longer than {Array.MaxLength >> 20} MB; shorten them");
        Grow(ref _text, start + token.Length);
        Grow(ref _ends, id + 1);
        token.CopyTo(_text.AsSpan(start));
        _ends[id] = start + token.Length;
        Count++;
        _table[place] = new(id, key);
        if (Count > _table.Length / 4 * 3)
            Rehash();
        return id;
    }

    /// <summary>
    /// Reads what <see cref="GetOrAdd(ReadOnlySpan{byte}, uint)"/> is going to read, which then is in the cache. Where millions of tokens
    /// lie all over the memory, the processor waits for those of many calls at once.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public int Peek(uint hash)
    {
        ref Entry entry = ref _table[(int)hash & (_table.Length - 1)];
        return entry.Key.IsToken ? entry.Id : _text[_ends[entry.Id] - 1];
    }

    /// <inheritdoc cref="GetOrAdd(ReadOnlySpan{byte})"/>
    /// <exception cref="ArgumentException">The token has half a character in it.</exception>
    public int GetOrAdd(ReadOnlySpan<char> token) => GetOrAdd(Encode(token, stackalloc byte[ShortToken], out var utf8)
        ? utf8
        : throw new ArgumentException("no Unicode text", nameof(token)));

    public bool TryGetId(ReadOnlySpan<char> token, out int id)
    {
        id = 0;
        if (Encode(token, stackalloc byte[ShortToken], out var utf8))
            TryGetId(utf8, out id);
        return id > 0;
    }

    /// <param name="token">UTF-8.</param>
    /// <param name="id">The id; 0 where the token has none.</param>
    public bool TryGetId(ReadOnlySpan<byte> token, out int id)
    {
        uint hash = Hash(token);
        Find(token, hash, Key.Of(token, hash), out id);
        return id > 0;
    }

    /// <summary>Half a character is in no token, and must not be taken for the sign that would replace it.</summary>
    private static bool Encode(ReadOnlySpan<char> token, Span<byte> buffer, out ReadOnlySpan<byte> utf8)
    {
        if (buffer.Length < 3 * token.Length)
            buffer = new byte[3 * token.Length];
        var status = Unicode.FromUtf16(token, buffer, out _, out int length, replaceInvalidSequences: false);
        utf8 = buffer[..length];
        return status == OperationStatus.Done;
    }

    /// <returns>Where in the table the token is, or belongs.</returns>
    private int Find(ReadOnlySpan<byte> token, uint hash, Key key, out int id)
    {
        Entry[] table = _table;
        int place = (int)hash & (table.Length - 1);
        for (; table[place].Id != 0; place = (place + 1) & (table.Length - 1))
        {
            id = table[place].Id;
            if (table[place].Key == key && (key.IsToken || token.SequenceEqual(_text.AsSpan(_ends[id - 1].._ends[id]))))
                return place;
        }
        id = 0;
        return place;
    }

    private void Rehash()
    {
        Entry[] old = _table;
        _table = new Entry[2 * old.Length];
        foreach (Entry entry in old)
        {
            if (entry.Id == 0)
                continue;
            int place = (int)Hash(Utf8(entry.Id)) & (_table.Length - 1);
            while (_table[place].Id != 0)
                place = (place + 1) & (_table.Length - 1);
            _table[place] = entry;
        }
    }

    private static void Grow<T>(ref T[] array, int length)
    {
        if (length > array.Length)
            Array.Resize(ref array, (int)Math.Min(Math.Max(length, 2L * array.Length), Array.MaxLength));
    }

    /// <summary>What is known of a token without a look at its text: all of it, if it is short, its hash otherwise.</summary>
    /// <param name="High">The last bytes, and above them the length; of a long token, a length that none has, and the hash.</param>
    /// <param name="Low">The first eight bytes.</param>
    [StructLayout(LayoutKind.Sequential, Pack = 4)]
    private readonly record struct Key(uint High, ulong Low)
    {
        private const int Longest = 11, LengthShift = 24;
        private const uint Long = 0xFFu << LengthShift;

        public bool IsToken => High < Long;

        public static Key Of(ReadOnlySpan<byte> token, uint hash)
        {
            if (token.Length > Longest)
                return new(Long, hash);
            uint length = (uint)token.Length << LengthShift;
            // Bytes that are read twice are the same in every token of this length.
            if (token.Length >= sizeof(ulong))
            {
                uint last = BinaryPrimitives.ReadUInt32LittleEndian(token[^sizeof(uint)..]) >> 8;
                return new(length | last, BinaryPrimitives.ReadUInt64LittleEndian(token));
            }
            if (token.Length >= sizeof(uint))
            {
                ulong last = BinaryPrimitives.ReadUInt32LittleEndian(token[^sizeof(uint)..]);
                return new(length, (last << 32) | BinaryPrimitives.ReadUInt32LittleEndian(token));
            }
            ulong low = 0;
            for (int i = token.Length - 1; i >= 0; i--)
                low = (low << 8) | token[i];
            return new(length, low);
        }
    }

    /// <summary>16 bytes, four of which are a line of the cache.</summary>
    [StructLayout(LayoutKind.Sequential, Pack = 4)]
    private readonly record struct Entry(int Id, Key Key);
}
