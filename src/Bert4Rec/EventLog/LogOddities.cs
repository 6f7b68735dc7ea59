using System.Globalization;
using System.Text;
using Bert4Rec.Configuration;

namespace Bert4Rec.EventLog;

/// <summary>What rows can have that is readable, and yet is hardly what was meant.</summary>
internal sealed class LogOddities
{
    /// <summary>A clock may be ahead of this machine's.</summary>
    private static readonly TimeSpan s_clockError = TimeSpan.FromDays(2);

    private static readonly long s_end1990 = new DateTimeOffset(1991, 1, 1, 0, 0, 0, TimeSpan.Zero).ToUnixTimeMilliseconds();

    private long _decimalIds;
    private string? _decimalId;
    private (long First, long Last) _times = (long.MaxValue, long.MinValue);

    /// <summary>Adds a row that is kept.</summary>
    /// <param name="time">Its time in Unix milliseconds.</param>
    public void Add(EventRow row, long time)
    {
        _times = (Math.Min(_times.First, time), Math.Max(_times.Last, time));
        AddId(row[EventColumn.UserId]);
        AddId(row[EventColumn.ProductId]);
    }

    /// <summary>Adds what another one counted.</summary>
    public void Add(LogOddities other)
    {
        _decimalIds += other._decimalIds;
        _decimalId ??= other._decimalId;
        _times = (Math.Min(_times.First, other._times.First), Math.Max(_times.Last, other._times.Last));
    }

    public void Clear()
    {
        (_decimalIds, _decimalId) = (0, null);
        _times = (long.MaxValue, long.MinValue);
    }

    /// <summary>As sentences that begin with the file.</summary>
    /// <param name="file">The log, or the first of several.</param>
    public IEnumerable<string> Describe(string file, DateTimeOffset now)
    {
        if (_decimalIds > 0)
        {
            yield return $"{file}: {_decimalIds:N0} times an id is like '{_decimalId}', as where a program has taken ids for numbers; "
                + $"'{_decimalId![..^2]}' is another customer or item";
        }
        if (_times.Last > (now + s_clockError).ToUnixTimeMilliseconds())
            yield return $"{file}: the last event is of {Text(_times.Last)}, which is still to come; is the column a time?";
        if (_times.First is > 0 and < long.MaxValue && _times.Last < s_end1990)
            yield return $"{file}: all events lie between {Text(_times.First)} and {Text(_times.Last)}; is the column a time?";
    }

    private void AddId(ReadOnlySpan<byte> id)
    {
        if (!id.EndsWith(".0"u8) || id.Length == 2 || id[..^2].ContainsAnyExceptInRange((byte)'0', (byte)'9'))
            return;
        _decimalIds++;
        _decimalId ??= Encoding.ASCII.GetString(id);
    }

    private static string Text(long milliseconds) =>
        DateTimeOffset.FromUnixTimeMilliseconds(milliseconds).ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture);
}
