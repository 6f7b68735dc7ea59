using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Bert4Rec.Serialization;

/// <summary>
/// The JSON of our own records: names in snake_case, NaN and infinity as words, the same bytes on every system. How a record is read and
/// written is compiled in with it: looked up at run time, it would be lost to trimming.
/// </summary>
/// <param name="types">The records, and all that they are made of.</param>
internal sealed class RecordJson(IJsonTypeInfoResolver types)
{
    private readonly JsonSerializerOptions _lines = Options(types);

    private readonly JsonSerializerOptions _indented = new(Options(types)) { WriteIndented = true, NewLine = "\n" };

    private readonly JsonSerializerOptions _strict = new(Options(types))
    {
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    };

    /// <summary>Names as they are.</summary>
    public JsonSerializerOptions Plain { get; } = new()
    {
        TypeInfoResolver = types,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    public string Line<T>(T value) => JsonSerializer.Serialize(value, _lines);

    public string Indented<T>(T value) => JsonSerializer.Serialize(value, _indented);

    /// <summary>A record as it was written; null where the text is no such record, or not a whole one.</summary>
    public T? TryRead<T>(string json)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize<T>(json, _strict);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static JsonSerializerOptions Options(IJsonTypeInfoResolver types) => new()
    {
        TypeInfoResolver = types,
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };
}
