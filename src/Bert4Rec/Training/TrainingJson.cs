using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Bert4Rec.Training;

/// <summary>The JSON of result.json and metrics.jsonl: names in snake_case, NaN and infinity as words.</summary>
internal static class TrainingJson
{
    /// <summary>Names as they are. Says how records are read, which a program that is to be compiled ahead of time leaves open.</summary>
    public static readonly JsonSerializerOptions Plain = new() { TypeInfoResolver = new DefaultJsonTypeInfoResolver() };

    private static readonly JsonSerializerOptions _lines = new(Plain)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    private static readonly JsonSerializerOptions _indented = new(_lines) { WriteIndented = true };

    private static readonly JsonSerializerOptions _strict = new(_lines)
    {
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    };

    public static string Line<T>(T value) => JsonSerializer.Serialize(value, _lines);

    public static string Indented<T>(T value) => JsonSerializer.Serialize(value, _indented);

    /// <summary>A record as it was written; null where the text is no such record, or not a whole one.</summary>
    public static T? TryRead<T>(string json)
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
}
